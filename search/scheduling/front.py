"""The front of two minimised objectives, and by how much a network is expected to enlarge it.

A trial is on the front if no other trial is as good in both objectives and better in one. The
hypervolume of a front is the area between it and a reference point; more is better. The first
objective is a loss, which training finds out. The second one is a size, which is known beforehand,
so the expected improvement of the hypervolume (Emmerich et al., Single- and Multiobjective
Evolutionary Optimization Assisted by Gaussian Random Field Metamodels, 2006) is a sum of expected
improvements of the loss, one for each step of the front.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from search.scheduling.improvement import log_expected_improvement
from search.spaces.unit_cube import Array

LEAST_OF_KNEE = 3  # trials of a front that may have a knee


def on_front(losses: Sequence[float], sizes: Sequence[float]) -> list[int]:
    """The rows of the points on the front, smallest size first; the first row of equal points.

    Points with an infinite or unknown (NaN) objective are left out.
    """
    rows = [
        n for n, pair in enumerate(zip(losses, sizes, strict=True)) if all(map(math.isfinite, pair))
    ]
    front: list[int] = []
    for row in sorted(rows, key=lambda n: (sizes[n], losses[n])):
        if not front or losses[row] < losses[front[-1]]:
            front.append(row)
    return front


def knee(losses: Sequence[float], sizes: Sequence[float]) -> int | None:
    """The row of a front's knee: the point furthest below the line between the front's ends.

    Both objectives are normalised, so that the ends are (0, 1) and (1, 0); of the size, the
    logarithm is.

    Args:
        losses: Of the points on the front, smallest size first.
        sizes: Of the same points, positive.

    Returns:
        The row; None if no point is below the line.
    """
    if len(losses) < LEAST_OF_KNEE:
        return None
    across = np.log(np.array(sizes, dtype=np.float64))
    up = np.array(losses, dtype=np.float64)
    x = (across - across[0]) / (across[-1] - across[0])
    y = (up - up[-1]) / (up[0] - up[-1])
    below = (1 - x - y) / math.sqrt(2)
    row = int(below.argmax())
    return row if below[row] > 1e-12 else None


@dataclass(frozen=True)
class Front:
    """A front as steps: the lowest loss among networks of at most each size.

    Attributes:
        starts: (steps,) sizes at which the steps start; the first one is minus infinity.
        ends: (steps,) sizes at which they end; the last one is the reference point's.
        levels: (steps,) losses; the first one is the reference point's.
    """

    starts: Array
    ends: Array
    levels: Array

    @classmethod
    def of(cls, losses: Array, sizes: Array, reference: tuple[float, float]) -> "Front":
        """The front of points.

        Args:
            losses: (n,) of the points.
            sizes: (n,) of the same points.
            reference: Loss and size beyond which nothing counts.
        """
        most_loss, most_size = reference
        rows = on_front(losses.tolist(), sizes.tolist())
        inside = [n for n in rows if losses[n] < most_loss and sizes[n] < most_size]
        edges = np.concatenate([[-math.inf], sizes[inside], [most_size]])
        levels = np.concatenate([[most_loss], losses[inside]])
        return cls(edges[:-1], edges[1:], levels)

    @property
    def hypervolume(self) -> float:
        """The area between the front and the reference point."""
        heights = self.levels[0] - self.levels[1:]
        return float(((self.ends - self.starts)[1:] * heights).sum())

    def level(self, sizes: Array) -> Array:
        """The lowest loss (n,) of the front's networks of at most these sizes (n,)."""
        return self.levels[np.searchsorted(self.starts, sizes, side="right") - 1]

    def improvement(self, losses: Array, sizes: Array) -> Array:
        """By how much points (n,) would enlarge the hypervolume, (n,)."""
        gains = np.maximum(self.levels - losses[:, None], 0.0)
        return np.asarray((self._widths(sizes) * gains).sum(axis=1))

    def log_expected_improvement(
        self, mean: Array, deviation: Array, sizes: Array, margin: float = 0.0
    ) -> Array:
        """Logarithm of the expected improvement of the hypervolume by normal losses, (n,).

        Args:
            mean: (n,) expected losses.
            deviation: (n,) their standard deviations, positive.
            sizes: (n,).
            margin: By how much a loss has to be below the front to count.
        """
        gains = log_expected_improvement(self.levels - margin, mean[:, None], deviation[:, None])
        return np.asarray(logsumexp(gains, axis=1, b=self._widths(sizes)))

    def _widths(self, sizes: Array) -> Array:
        """The part of each step from sizes (n,) on, (n, steps)."""
        return np.maximum(self.ends - np.maximum(self.starts, sizes[:, None]), 0.0)
