"""Greedy ensemble selection with repetition: which models to average, and how often each counts.

Source: R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, Ensemble Selection from Libraries of
Models, ICML 2004: selection with replacement, without sorted initialisation and
bagging. The metric is the study's monitored figure on the validation images.

Notation: m models, n images, c classes. ``probabilities`` (m, n, c) are those that each model
gives each class of each image, ``of_truth`` (m, n) those of the true class. The cross-entropy of an
average of models depends on nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation import OF_PREDICTIONS, accuracy

Array = npt.NDArray[np.float64]
Losses = Callable[[Array], Array]
"""What the selection lowers: values (m,) of m models' or averages' predictions (m, …)."""

MOST = 100  # most additions: further ones change a weight by less than a hundredth
FLOOR = 1e-7  # least probability in a logarithm, as in every loss that Keras reports
TIE = 1e-6  # weight of a cross-entropy, below 17 nats, beside a share: less than an image of 59,000


@dataclass(frozen=True)
class Selection:
    """The models of an ensemble.

    Attributes:
        counts: How often each of the m models was added, 0 for most. Its weight is its share of
            all additions.
        loss: That of the weighted average on the n images; infinite if no model was added.
    """

    counts: tuple[int, ...]
    loss: float

    @property
    def members(self) -> tuple[int, ...]:
        """Indices of the added models, in order."""
        return tuple(index for index, count in enumerate(self.counts) if count)


def predictions_and_losses(
    probabilities: Array, labels: npt.NDArray[np.int32], monitor: str
) -> tuple[Array, Losses]:
    """The arguments of ``select`` by a monitored figure.

    Args:
        probabilities: (m, n, c).
        labels: (n,) numbers of the true classes.
        monitor: ``val_loss``, or a share, of which 1 minus it is the loss. Few images are counted
            alike in many averages; of these the one of the lowest cross-entropy is best.
    """
    rows = np.arange(len(labels))
    if monitor == "val_loss":
        return probabilities[:, rows, labels], cross_entropies
    share = {**OF_PREDICTIONS, "val_accuracy": accuracy}[monitor]

    def losses(averages: Array) -> Array:
        losses = [np.inf if np.isnan(each).any() else 1 - share(each, labels) for each in averages]
        ties = TIE * cross_entropies(averages[:, rows, labels])
        return np.where(np.isnan(losses), np.inf, losses) + ties

    return probabilities, losses


def select(predictions: Array, losses: Losses) -> Selection:
    """Add the model that lowers the loss of the average most, until none lowers it.

    The first addition is the best single model, so the ensemble is never worse than that on the
    images of the selection. A model may be added again, which raises its weight. Of models that
    lower the loss equally, the first is added, so the same input gives the same ensemble.

    Args:
        predictions: (m, …) of the models.
        losses: Of averages of these; infinite for those with NaN, which are never added.
    """
    counts = [0] * len(predictions)
    total = np.zeros(predictions.shape[1:])
    loss = np.inf
    for size in range(1, MOST + 1):
        reached = losses((total + predictions) / size)
        best = int(np.argmin(reached))
        if not reached[best] < loss:
            break
        counts[best] += 1
        total = total + predictions[best]
        loss = float(reached[best])
    return Selection(tuple(counts), float(loss))


def cross_entropies(of_truth: Array) -> Array:
    """Mean cross-entropy of each row in nats, (m,); infinite for rows with NaN."""
    losses = -np.log(np.maximum(of_truth, FLOOR)).mean(axis=1)
    return np.where(np.isnan(losses), np.inf, losses)
