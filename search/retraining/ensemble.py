"""Greedy ensemble selection with repetition: which models to average, and how often each counts.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, Ensemble Selection from Libraries of
Models, ICML 2004: selection with replacement, without sorted initialisation and
bagging. The metric is the cross-entropy on the validation images, in nats.

Notation: m models, n images. ``of_truth`` has shape (m, n): the probability, 0 to 1, that each
model gives the true class of each image. The cross-entropy of an average of models depends on
nothing else.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MOST = 100  # most additions: further ones change a weight by less than a hundredth
FLOOR = 1e-7  # least probability in a logarithm, as in every loss that Keras reports


@dataclass(frozen=True)
class Selection:
    """The models of an ensemble.

    Attributes:
        counts: How often each of the m models was added, 0 for most. Its weight is its share of
            all additions.
        loss: Cross-entropy of the weighted average on the n images, in nats; infinite if no model
            was added.
    """

    counts: tuple[int, ...]
    loss: float

    @property
    def members(self) -> tuple[int, ...]:
        """Indices of the added models, in order."""
        return tuple(index for index, count in enumerate(self.counts) if count)


def select(of_truth: Array) -> Selection:
    """Add the model that lowers the loss of the average most, until none lowers it.

    The first addition is the best single model, so the ensemble is never worse than that on the
    images of the selection. A model may be added again, which raises its weight. Of models that
    lower the loss equally, the first is added, so the same input gives the same ensemble.

    Args:
        of_truth: (m, n) probabilities of the true class; models with NaN are never added.
    """
    counts = [0] * len(of_truth)
    total = np.zeros(of_truth.shape[1:])
    loss = np.inf
    for size in range(1, MOST + 1):
        losses = _losses((total + of_truth) / size)
        best = int(np.argmin(losses))
        if not losses[best] < loss:
            break
        counts[best] += 1
        total = total + of_truth[best]
        loss = float(losses[best])
    return Selection(tuple(counts), float(loss))


def _losses(of_truth: Array) -> Array:
    """Cross-entropy of each row, shape (m,); infinite for rows with NaN."""
    losses = -np.log(np.maximum(of_truth, FLOOR)).mean(axis=1)
    return np.where(np.isnan(losses), np.inf, losses)
