"""The configurations that recorded curves favour: by loss, or by the front of loss and size."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from search.scheduling.candidates import Candidates
from search.scheduling.chooser import ObservedTrial
from search.scheduling.front import Front
from search.scheduling.prior import Prior
from search.scheduling.targets import BEYOND, SizeRange
from search.spaces.unit_cube import Array

DRAWN = 5000  # configurations among which recorded curves choose
GOOD = 0.01  # best share of these: paused trials as good train to their end


class Favourites:
    """What the sources of a prior expect of configurations, each as far as it is trusted.

    With sizes, the favourites are the configurations that would enlarge the front of the trials'
    expected scores and sizes most, and a trial is good if its score is low for its size.
    """

    def __init__(self, prior: Prior, candidates: Candidates, seed: int) -> None:
        """Favour what ``prior`` expects most of, among points that ``seed`` draws."""
        self._prior = prior
        self._candidates = candidates
        self._seed = seed
        self._scored: dict[float, Array] = {}  # by progress: the first epoch's, and each rung's

    def ranked(
        self,
        trials: Sequence[ObservedTrial],
        trust: Array,
        progress: float,
        sizes: SizeRange | None,
    ) -> Array:
        """Points (n, parameters) of new configurations that fit, the most favoured first.

        Args:
            trials: The trials so far.
            trust: (sources,) how far each source is trusted.
            progress: Part of a training after which they are favoured (``Source.expect``).
            sizes: The sizes of the networks, to minimise, too; None to minimise the loss alone.
        """
        scores = self._scores(progress) @ trust
        order = scores.argsort(kind="stable")
        if sizes is not None:
            points = self._candidates.points(trials)
            own = sizes.of(points)
            low, high = float(scores.min()), float(scores.max())
            reference = high + BEYOND * max(high - low, 1e-9), 1 + BEYOND
            front = Front.of(self._expected(points, trust, progress), own, reference)
            gains = front.improvement(scores, sizes.of(self._drawn))
            order = np.lexsort((scores, -gains))
        return self._candidates.fitting(self._drawn[order])

    def best_of(
        self, trials: Sequence[ObservedTrial], trust: Array, sizes: SizeRange | None
    ) -> ObservedTrial | None:
        """The trial of which most is expected in full, if it is as good as the best drawn ones.

        Other arguments as of ``ranked``.
        """
        scores = self._scores(1.0) @ trust
        points = self._candidates.points(trials)
        expected = self._expected(points, trust, 1.0)
        if sizes is not None:
            around = sizes.of(self._drawn)
            front = Front.of(scores, around, (float(scores.max()), np.inf))
            scores = scores - front.level(around)
            expected = expected - front.level(sizes.of(points))
        good = float(np.quantile(scores, GOOD)) + 1e-9
        return trials[int(expected.argmin())] if np.any(expected <= good) else None

    def _expected(self, points: Array, trust: Array, progress: float) -> Array:
        """Scores (n,) of points (n, parameters) after that progress."""
        return np.asarray(self._prior.expect(points, np.full(len(points), progress)) @ trust)

    @cached_property
    def _drawn(self) -> Array:
        """Points (DRAWN, parameters) among which the recorded curves choose."""
        return self._candidates.lasting(DRAWN, np.random.default_rng((self._seed, 2)))

    def _scores(self, progress: float) -> Array:
        """What each source expects of them after that progress, (DRAWN, sources)."""
        if progress not in self._scored:
            there = np.full(len(self._drawn), progress)
            self._scored[progress] = self._prior.expect(self._drawn, there)
        return self._scored[progress]
