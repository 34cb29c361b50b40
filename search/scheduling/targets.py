"""What a search is after: the lowest loss, or the largest front of loss and size.

Losses of a forecast have the units of the model (``search.scheduling.loss_scale``).
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from search.scheduling.candidates import LEADERS, best_of
from search.scheduling.chooser import ObservedTrial
from search.scheduling.front import Front, on_front
from search.scheduling.improvement import log_expected_improvement, margin, prospect
from search.scheduling.loss_scale import LossScale
from search.spaces.unit_cube import Array

BEYOND = 0.1  # how far a front's reference point is beyond what there is, as a part of the range

Sizes = Callable[[Array], Array]
"""Sizes (n,) of the networks at points (n, parameters) of the unit cube."""


class Target(Protocol):
    """What the next training is chosen by."""

    def leaders(self) -> Sequence[ObservedTrial]:
        """The trials near which new configurations are drawn."""

    def log_gain(
        self, mean: Array, deviation: Array, points: Array, random: np.random.Generator
    ) -> Array:
        """Logarithm of the gain (n,) that is expected of normal losses.

        Args:
            mean: (n,) expected losses.
            deviation: (n,) their standard deviations, positive.
            points: (n, parameters) of the unit cube.
            random: Draws by how much an improvement has to be larger than nothing.
        """

    def by_bound(self, bound: Array, points: Array) -> npt.NDArray[np.intp]:
        """The order (n,) of points (n, parameters) by the gain from losses (n,), most first."""

    def prospect(self, mean: float, deviation: float, point: Array) -> str:
        """What is expected of a point (parameters,), in a few words."""


class LowestLoss:
    """The lowest loss."""

    def __init__(self, trials: Sequence[ObservedTrial], scale: LossScale) -> None:
        """Improve on the best of ``trials``."""
        self._trials, self._scale = trials, scale
        self._goal = float(scale.to_model(min(trial.best for trial in trials)))

    def leaders(self) -> Sequence[ObservedTrial]:
        """See Target."""
        return best_of(self._trials)

    def log_gain(
        self, mean: Array, deviation: Array, points: Array, random: np.random.Generator
    ) -> Array:
        """See Target. Expected improvement of the loss."""
        return log_expected_improvement(self._goal - margin(random), mean, deviation)

    def by_bound(self, bound: Array, points: Array) -> npt.NDArray[np.intp]:
        """See Target."""
        return np.argsort(bound, kind="stable")

    def prospect(self, mean: float, deviation: float, point: Array) -> str:
        """See Target."""
        return prospect(self._scale, self._goal, mean, deviation)


class SizeRange:
    """The sizes of a space's networks, as logarithms from 0 (least) to 1 (most)."""

    def __init__(self, sizes: Sizes, points: Array) -> None:
        """Measure ``sizes`` at ``points`` (n, parameters) from the whole space."""
        self._sizes = sizes
        logs = np.log(sizes(points))
        logs = logs[np.isfinite(logs)]
        self._least = float(logs.min()) if len(logs) else 0.0
        self._width = max(float(np.ptp(logs)), 1e-9) if len(logs) else 1.0

    def of(self, points: Array) -> Array:
        """Sizes (n,) at points (n, parameters); infinite where no network is possible."""
        return np.asarray((np.log(self._sizes(points)) - self._least) / self._width)


class LargestFront:
    """The front of loss and size with the largest hypervolume (``search.scheduling.front``)."""

    def __init__(
        self, trials: Sequence[ObservedTrial], own: Array, sizes: SizeRange, scale: LossScale
    ) -> None:
        """Enlarge the front of ``trials``.

        Args:
            trials: The trials.
            own: Their sizes (trials,), as of ``sizes``.
            sizes: The sizes of networks.
            scale: The scale of the losses.
        """
        self._trials, self._sizes, self._scale = trials, sizes, scale
        best = np.array([trial.best for trial in trials])
        losses = np.where(np.isfinite(best), scale.to_model(best), math.inf)
        self._rows = on_front(losses.tolist(), own.tolist())
        finite = losses[np.isfinite(losses)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        most = max(own[np.isfinite(own)], default=1.0)  # beyond 1 if others were expected
        reference = high + BEYOND * max(high - low, 1e-9), max(most, 1.0) + BEYOND
        self._front = Front.of(losses, own, reference)

    def leaders(self) -> Sequence[ObservedTrial]:
        """See Target. Evenly spread over the front."""
        if not self._rows:
            return best_of(self._trials)
        spread = np.unique(np.linspace(0, len(self._rows) - 1, LEADERS).round())
        return [self._trials[self._rows[int(n)]] for n in spread]

    def log_gain(
        self, mean: Array, deviation: Array, points: Array, random: np.random.Generator
    ) -> Array:
        """See Target. Expected improvement of the hypervolume."""
        sizes = self._sizes.of(points)
        return self._front.log_expected_improvement(mean, deviation, sizes, margin(random))

    def by_bound(self, bound: Array, points: Array) -> npt.NDArray[np.intp]:
        """See Target. Of points that enlarge nothing, those with the lowest losses come first."""
        return np.lexsort((bound, -self._front.improvement(bound, self._sizes.of(points))))

    def prospect(self, mean: float, deviation: float, point: Array) -> str:
        """See Target."""
        (goal,) = self._front.level(self._sizes.of(point[None]))
        likely = ndtr((goal - mean) / deviation)
        loss = float(self._scale.to_loss(mean))
        return f"expected to reach {loss:.4f}, {likely:.0%} likely to be on the front"
