"""How far recorded curves are trusted: as far as they rank what the study itself has measured.

A ranking-weighted ensemble (Feurer et al., Scalable Meta-Learning for Bayesian Optimization, 2018).
The weight of a source is the share of bootstrap samples of the study's configurations that it ranks
better than any other source does, if it also ranks them, and the configurations outside of the
sample, at least as well as chance and as the study's own model, which forecasts each configuration
from the others. The rest, up to 1, is the weight of no source: it grows as that model learns.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.scheduling.rungs import STARTUP
from search.spaces.unit_cube import Array

Rows = npt.NDArray[np.int64]

SAMPLES = 200  # bootstrap samples
EQUAL = 1e-9  # difference of sums of errors that is none
TIE = 0.25  # forecasts (in normal scores) that are this close do not rank two configurations


@dataclass(frozen=True)
class Measured:
    """Losses that forecasts are compared with.

    Attributes:
        losses: (n,) in any scale, the lowest of each configuration so far.
        epochs: (n,) the epochs after which they were measured.
        owners: (n,) numbers of their configurations.
        full: Epochs of a full training.
    """

    losses: Array
    epochs: Rows
    owners: Rows
    full: int

    def pairs(self) -> tuple[Rows, Rows]:
        """Pairs of losses after the same epoch; the first of each pair is lower.

        One of them is in the lower half there: which of two bad configurations is worse does not
        matter.
        """
        low = np.empty(len(self.losses), dtype=bool)
        for epoch in np.unique(self.epochs):
            there = self.epochs == epoch
            low[there] = self.losses[there] <= np.median(self.losses[there])
        one, other = np.triu_indices(len(self.losses), 1)
        comparable = (self.epochs[one] == self.epochs[other]) & (low[one] | low[other])
        comparable &= self.losses[one] != self.losses[other]
        one, other = one[comparable], other[comparable]
        ordered = self.losses[one] < self.losses[other]
        return np.where(ordered, one, other), np.where(ordered, other, one)

    def ahead(self) -> tuple[Rows, Rows]:
        """Pairs of a configuration that is not trained in full, and one that is but is no better.

        The former would stay ahead: its lowest loss can only fall.
        """
        whole = self.epochs == self.full
        last = np.array([self.epochs[self.owners == owner].max() for owner in self.owners])
        short = (self.epochs == last) & (last < self.full)
        lower, higher = np.nonzero((self.losses[:, None] < self.losses) & short[:, None] & whole)
        return lower, higher


def misranked(forecasts: Array, lower: Rows, higher: Rows) -> Array:
    """Errors of forecasts (n, sources) for pairs, (pairs, sources): 0, 1, or 0.5 for a tie."""
    apart = forecasts[lower] - forecasts[higher]
    return np.where(np.abs(apart) < TIE, 0.5, np.where(apart < 0, 0.0, 1.0))


def trust(
    own: Array,
    forecasts: Array,
    final: Array,
    measured: Measured,
    before: Array,
    random: np.random.Generator,
) -> Array:
    """The weight of each source, (sources,); they sum to at most 1.

    Args:
        own: (n,) forecasts of the study's model, each without its configuration's own losses.
        forecasts: (n, sources) forecasts of the sources, in normal scores after the same epoch.
        final: (n, sources) their forecasts for the end of a full training.
        measured: The study's n losses.
        before: (sources,) positive weights that count while the sources cannot be told apart.
        random: Draws the bootstrap samples.
    """
    owners, owner = np.unique(measured.owners, return_inverse=True)
    same, ahead = measured.pairs(), measured.ahead()
    lower, higher = (np.concatenate(rows) for rows in zip(same, ahead, strict=True))
    if not len(lower):
        return before
    wrong = np.concatenate([misranked(forecasts, *same), misranked(final, *ahead)])
    own_wrong = misranked(own[:, None], lower, higher)
    # Few configurations reach the late epochs, which matter as much as the first.
    _, rungs, sizes = np.unique(measured.epochs[higher], return_inverse=True, return_counts=True)
    count = len(owners)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=SAMPLES)

    def weighed(times: npt.NDArray[np.int64]) -> Array:
        """Weights of the pairs, (samples, pairs), if configurations count so many times."""
        return times[:, owner[lower]] * times[:, owner[higher]] / sizes[rungs]

    def as_good(weights: Array) -> npt.NDArray[np.bool_]:
        """Whether a source ranks as well as chance and the study's model, (samples, sources)."""
        rival = 0.5 * weights.sum(axis=1, keepdims=True)
        if count >= STARTUP:
            # With fewer, a model that is left without one errs to its other side.
            rival = np.minimum(rival, weights @ own_wrong)
        return np.asarray(weights @ wrong <= rival + EQUAL)

    inside, outside = weighed(drawn), weighed((drawn == 0).astype(np.int64))
    errors = inside @ wrong
    best = before * (errors <= errors.min(axis=1, keepdims=True) + EQUAL)
    # Outside, too: the best of several seems good where it was chosen.
    right = as_good(inside) & as_good(outside)
    return np.asarray((right * best / best.sum(axis=1, keepdims=True)).mean(axis=0))


def agreement(forecasts: Array, losses: Array) -> Array:
    """Share of pairs that forecasts (n, sources) of losses (n,) rank right, less chance, 0 to 1."""
    everything = np.zeros(len(losses), dtype=np.int64)
    lower, higher = Measured(losses, everything, everything, 0).pairs()
    if not len(lower):
        return np.zeros(forecasts.shape[1])
    errors: Array = misranked(forecasts, lower, higher).mean(axis=0)
    return np.maximum(1 - 2 * errors, 0.0)
