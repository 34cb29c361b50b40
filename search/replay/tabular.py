"""Recorded curves as a task for replays: every configuration has a curve, recorded or interpolated.

A forest of extremely randomised trees (Geurts, Ernst, Wehenkel, 2006) is fitted to the recorded
curves. A configuration's curve is the forest's prediction plus a residual: the out-of-bag error of
the most similar recorded configuration, the one that shares the most leaves. So neighbours have
similar results, with the spread of real trainings. Predictions and residuals are normal scores, by
rank after each epoch. They are mapped back to losses between those recorded after that epoch: none
is below the lowest.

Within one search each residual is used once, as long as any is left.
docs/decisions/0008-replay.md compares this with other methods.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from sklearn.ensemble import ExtraTreesRegressor

from search.errors import TreinoError
from search.scheduling.curves import LEAST, Curves
from search.scheduling.prior import normal_scores
from search.spaces.unit_cube import Array, Params, UnitCube

TREES = 100


class TabularTask:
    """A finite table of recorded curves (``search.replay.simulation.Task``).

    Attributes:
        name: Its name.
        images: Name and fingerprint of its images.
        epochs: Length of a full training.
        distributions: The parameters with their ranges.
        best: Lowest loss of the best recorded configuration.
        middle: Lowest loss of the middling one.

    Args:
        curves: The table; see ``check``.
        name: Its name.
    """

    def __init__(self, curves: Curves, name: str) -> None:
        self.name = name
        self.images = curves.data
        self.epochs = curves.epochs
        self.distributions: Mapping[str, BaseDistribution] = curves.ranges
        self._coordinates = UnitCube(self.distributions)
        self._table = curves.table()
        self._rows = {
            frozenset(curve.params.items()): row for row, curve in enumerate(curves.configurations)
        }
        # By rank, so that huge or infinite losses do not dominate.
        scores = normal_scores(self._table)
        self._knots = np.sort(scores[:, 0])
        points = self._features([curve.params for curve in curves.configurations])
        forest = ExtraTreesRegressor(TREES, random_state=0, bootstrap=True, oob_score=True)
        forest.fit(points, scores)
        self._residuals = scores - np.reshape(forest.oob_prediction_, scores.shape)
        # The forest's own ``apply`` has overhead: fifteen times as long for one row.
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._values = [np.reshape(tree.value, (-1, self.epochs)) for tree in self._trees]
        self._leaves = self._leaves_of(points)
        self._sorted = [np.sort(losses[np.isfinite(losses)]) for losses in self._table.T]
        lowest = self._table.min(axis=1)
        self.best, self.middle = float(lowest.min()), float(np.median(lowest))

    def curves(self) -> Callable[[Params], Array]:
        """Curves for one search: losses (epochs,), with an unused residual of a recorded one."""
        curves: dict[frozenset[tuple[str, Any]], Array] = {}
        free = np.ones(len(self._table), dtype=bool)

        def curve(params: Params) -> Array:
            key = frozenset(params.items())
            if key not in curves:
                row = int(np.where(free | ~free.any(), self.likeness(params), -1).argmax())
                free[row] = False
                own = self._rows.get(key) == row
                curves[key] = self._table[row] if own else self._losses(params, row)
            return curves[key]

        return curve

    def likeness(self, params: Params) -> npt.NDArray[np.int64]:
        """Number of leaves that a configuration shares with each recorded one, (recorded,)."""
        leaves = self._leaves == self._leaves_of(self._features([params]))
        shared: npt.NDArray[np.int64] = leaves.sum(axis=1)
        return shared

    def _losses(self, params: Params, row: int) -> Array:
        """The forest's prediction for a configuration, plus the residual of a recorded one."""
        leaves = self._leaves_of(self._features([params]))[0]
        expected = np.mean(
            [values[leaf] for values, leaf in zip(self._values, leaves, strict=True)], axis=0
        )
        scores = zip(expected + self._residuals[row], self._table[row], self._sorted, strict=True)
        return np.array(
            [
                np.interp(s, self._knots[: len(f)], f) if loss < math.inf else loss
                for s, loss, f in scores
            ]
        )

    def _leaves_of(self, points: Array) -> npt.NDArray[np.int64]:
        """Number of the leaf of each point in each tree, (points, trees)."""
        rows = points.astype(np.float32)  # the trees compare float32
        return np.stack([tree.apply(rows) for tree in self._trees], axis=1)

    def _features(self, configurations: list[Params]) -> Array:
        points = np.array([self._coordinates.of(params) for params in configurations])
        return self._coordinates.features(points)


def check(curves: Curves, name: str) -> None:
    """Refuse a table that cannot compare strategies.

    Raises:
        TreinoError: It has too few configurations, or they are equally good.
    """
    count = len(curves.configurations)
    if count < LEAST:
        raise TreinoError(
            f"{name} has the curves of {count} full trainings; a replay needs at least {LEAST}: "
            "run treino record"
        )
    lowest = curves.table().min(axis=1)
    if not lowest.min() < np.median(lowest) < math.inf:
        raise TreinoError(
            f"{name}: half of the configurations equal the best one, or have no finite loss"
        )
