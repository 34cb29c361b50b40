"""The configurations among which a decision chooses."""

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from scipy.spatial import cKDTree

from search.scheduling.chooser import NextTraining, ObservedTrial
from search.spaces.room import Room
from search.spaces.unit_cube import Array, UnitCube

ANYWHERE = 200  # new configurations per decision, drawn from the whole space
NEIGHBOURS = 20  # more of them around each of the leaders
LEADERS = 5  # trials, or points of a climb
CLIMBS = 4  # times that a climb draws NEIGHBOURS around each of the LEADERS best
STEP = 0.1  # first step of a climb, as a part of a range; then it halves
APART = 0.05  # least difference from every trial in some feature, as a part of its range

Key = frozenset[tuple[str, Any]]


def best_of(trials: Sequence[ObservedTrial]) -> Sequence[ObservedTrial]:
    """The LEADERS trials with the lowest losses."""
    return sorted(trials, key=lambda trial: trial.best)[:LEADERS]


class Candidates:
    """New configurations to choose from, as points of the unit cube, and the points of trials."""

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], room: Room | None = None
    ) -> None:
        """Draw from ``distributions`` what fits ``room``; None for everything."""
        self.cube = UnitCube(distributions, room.fits if room else None)
        # Sizes that are learned during the search may change what fits.
        self._learning = None if room is None or room.is_fixed else room
        self._whole = UnitCube(distributions) if self._learning else self.cube
        self._points: dict[int, Array] = {}

    def points(self, trials: Sequence[ObservedTrial]) -> Array:
        """The points of trials, (trials, parameters)."""
        points = [self._point(trial) for trial in trials]
        return np.reshape(np.array(points), (-1, len(self.cube)))

    def draw(self, leaders: Sequence[ObservedTrial], random: np.random.Generator) -> Array:
        """New points (n, parameters): from the whole space, and near each of the leaders."""
        near = (self.cube.near(leader, NEIGHBOURS, random) for leader in self.points(leaders))
        return np.vstack([self.cube.uniform(ANYWHERE, random), *near])

    def lasting(self, count: int, random: np.random.Generator) -> Array:
        """Points (count, parameters) from the whole space, whatever is learned of sizes later."""
        return self._whole.uniform(count, random)

    def fitting(self, points: Array) -> Array:
        """Those of the points of ``lasting`` that fit now."""
        return points if self._learning is None else points[self._learning.fits(points)]

    def apart(self, points: Array, trials: Sequence[ObservedTrial]) -> Array:
        """Those of the points (n, parameters) that are no near copies of a trial.

        A model expects most of copies of the best trial, and learns least from them.
        """
        theirs = cKDTree(self.cube.features(self.points(trials)))
        features = self.cube.features(points)
        distances, _ = theirs.query(features, p=math.inf, distance_upper_bound=APART)
        return np.asarray(points[np.isinf(distances)])

    def climb(
        self,
        points: Array,
        gain: Callable[[Array], Array],
        trials: Sequence[ObservedTrial],
        random: np.random.Generator,
    ) -> tuple[Array, Array]:
        """Add points near the best ones, ever closer, and at the ends of their ranges.

        The best value is often at an end, where random points hardly ever are: many numbers switch
        something off at 0, and many ranges end before the best value.

        Args:
            points: (n, parameters) where to start.
            gain: Values (m,) of points (m, parameters); high is good.
            trials: No point is a near copy of them.
            random: Draws the points.

        Returns:
            Points (m, parameters) and their values (m,), best first; none if all are near copies.
        """
        points = self.apart(points, trials)
        values = gain(points)
        for n in range(CLIMBS):
            best = points[np.argsort(-values, kind="stable")[:LEADERS]]
            near = [self.cube.near(point, NEIGHBOURS, random, STEP / 2**n) for point in best]
            near += map(self.cube.at_ends, best)
            added = self.apart(np.vstack([points[:0], *near]), trials)
            points = np.vstack([points, added])
            values = np.concatenate([values, gain(added)])
        order = np.argsort(-values, kind="stable")
        return points[order], values[order]

    def first_new(self, points: Array, tried: AbstractSet[Key], reason: str) -> NextTraining | None:
        """The first of the points whose configuration is no trial yet; None if all are."""
        for point in points:
            params = self.cube.params(point)
            if frozenset(params.items()) not in tried:
                return NextTraining(None, params, reason)
        return None

    def _point(self, trial: ObservedTrial) -> Array:
        if trial.number not in self._points:
            self._points[trial.number] = self.cube.of(trial.params)
        return self._points[trial.number]
