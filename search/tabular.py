"""Recorded curves as a task for replays: every configuration gets the curve of a recorded one.

Which one, a forest says: extremely randomised trees (Geurts, Ernst, Wehenkel, 2006) that were
grown on the recorded curves, and the recorded configuration that shares the most leaves with the
one asked for. So parameters that matter count for more than those that do not, and no curve is
made up. In one search every curve is had once, as long as there are any left: two configurations
never have the same curve in earnest, and whoever asks near a good one is to get another that is
near. docs/decisions/0008-replay.md compares this with other ways.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor

from search.coordinates import Array, Coordinates, Params
from search.curves import Curve, Curves
from search.errors import TreinoError

TREES = 100
LEAST = 10  # configurations: with fewer, ways to search cannot be told apart


class TabularTask:
    """A finite table of recorded curves (``search.replay.Task``).

    Attributes:
        name: Its name.
        epochs: Length of a full training.
        distributions: The parameters with their ranges.
        best: Lowest loss of the best recorded configuration.
        middle: Lowest loss of the middling one.

    Args:
        curves: The table; see ``check``.
        name: What people call it.
    """

    def __init__(self, curves: Curves, name: str) -> None:
        self.name = name
        self.epochs = curves.epochs
        self.distributions: Mapping[str, BaseDistribution] = curves.ranges
        self._coordinates = Coordinates(self.distributions)
        self._table = table(curves)
        # By rank: losses that run away, or are infinite, are then not all that counts.
        ranks = rankdata(self._table, axis=0)
        points = self._features([curve.params for curve in curves.configurations])
        forest = ExtraTreesRegressor(TREES, random_state=0).fit(points, ranks)
        # The forest's own ``apply`` checks and spreads its work: fifteen times as long for a row.
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = self._leaves_of(points)
        lowest = self._table.min(axis=1)
        self.best, self.middle = float(lowest.min()), float(np.median(lowest))

    def curves(self) -> Callable[[Params], Array]:
        """What one search meets: losses (epochs,) of the most similar recorded one still free."""
        given: dict[frozenset[tuple[str, Any]], int] = {}

        def curve(params: Params) -> Array:
            key = frozenset(params.items())
            if key not in given:
                likeness = self.likeness(params)
                if len(given) < len(self._table):
                    likeness[list(given.values())] = -1
                given[key] = int(likeness.argmax())
            row: Array = self._table[given[key]]
            return row

        return curve

    def likeness(self, params: Params) -> npt.NDArray[np.int64]:
        """How many leaves a configuration shares with each recorded one, (recorded,)."""
        leaves = self._leaves == self._leaves_of(self._features([params]))
        shared: npt.NDArray[np.int64] = leaves.sum(axis=1)
        return shared

    def _leaves_of(self, points: Array) -> npt.NDArray[np.int64]:
        """Number of the leaf of each point in each tree, (points, trees)."""
        rows = points.astype(np.float32)  # what the trees compare in
        return np.stack([tree.apply(rows) for tree in self._trees], axis=1)

    def _features(self, configurations: list[Params]) -> Array:
        points = np.array([self._coordinates.of(params) for params in configurations])
        return self._coordinates.features(points)


def check(curves: Curves, name: str) -> None:
    """Refuse a table on which ways to search could not be compared.

    Raises:
        TreinoError: It has too few configurations, or they are all as good.
    """
    count = len(curves.configurations)
    if count < LEAST:
        raise TreinoError(
            f"{name} has the curves of {count} whole trainings; a replay needs {LEAST} or more: "
            "treino record makes them"
        )
    lowest = table(curves).min(axis=1)
    if not lowest.min() < np.median(lowest) < math.inf:
        raise TreinoError(f"{name}: half of the configurations are as good as the best, or none is")


def table(curves: Curves) -> Array:
    """The losses, (configurations, epochs): infinite once diverged, else the last one stays."""
    return np.array([_filled(curve, curves.epochs) for curve in curves.configurations])


def _filled(curve: Curve, epochs: int) -> list[float]:
    left = epochs - len(curve.val_loss)
    return [*curve.val_loss, *[math.inf if curve.diverged else curve.val_loss[-1]] * left]
