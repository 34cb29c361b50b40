"""Late decisions: the model of full trainings, its candidates, and the expected improvement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.integrate import quad
from scipy.stats import norm

from search.scheduling.candidates import APART, Candidates
from search.scheduling.chooser import ObservedTrial
from search.scheduling.freeze_thaw import FreezeThaw
from search.scheduling.full_trainings import LEAST, FullTrainings
from search.scheduling.improvement import LEAST as LEAST_MARGIN
from search.scheduling.improvement import MOST, log_expected_improvement, margin
from search.scheduling.rungs import rungs
from search.spaces.unit_cube import Params

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
EPOCHS = 20


def loss(params: Params, epoch: int = EPOCHS) -> float:
    """A bowl around (.7, .2); short trainings are the worse."""
    return float((params["x"] - 0.7) ** 2 + (params["y"] - 0.2) ** 2 + 0.1 + 0.2 / epoch)


def trained(number: int, x: float, y: float, epochs: int = EPOCHS) -> ObservedTrial:
    params = {"x": x, "y": y}
    losses = tuple(loss(params, epoch + 1) for epoch in range(epochs))
    return ObservedTrial(number, params, losses, "over" if epochs == EPOCHS else "paused")


def scattered(count: int, seed: int = 2) -> list[ObservedTrial]:
    points = np.random.default_rng(seed).random((count, 2))
    return [trained(number, float(x), float(y)) for number, (x, y) in enumerate(points)]


def known(trials: list[ObservedTrial]) -> set[frozenset[tuple[str, object]]]:
    return {trial.key for trial in trials}


class TestImprovement:
    @settings(max_examples=30)
    @given(goal=st.floats(-3, 3), mean=st.floats(-3, 3), deviation=st.floats(0.05, 3))
    def test_it_is_the_integral_of_what_lies_below_the_goal(
        self, goal: float, mean: float, deviation: float
    ) -> None:
        (value,) = log_expected_improvement(goal, np.array([mean]), np.array([deviation]))
        z = (goal - mean) / deviation
        # With the density at z as a factor, if z is negative: the integral would be next to 0.
        if z < 0:
            integral, _ = quad(lambda t: t * math.exp(z * t - 0.5 * t * t), 0, 12)
            expected = norm.logpdf(z) + math.log(integral)
        else:
            integral, _ = quad(lambda t: (z - t) * norm.pdf(t), -12, z)
            expected = math.log(integral)
        assert value == pytest.approx(math.log(deviation) + expected, abs=1e-5)

    def test_it_falls_with_the_distance_however_far(self) -> None:
        means = np.array([0.0, 1, 5, 37, 100, 1e3, 9_999, 10_001, 1e6])
        values = log_expected_improvement(0.0, means, np.ones(len(means)))
        assert np.all(np.isfinite(values))
        assert np.all(np.diff(values) < 0)

    def test_margins_are_small_and_large(self) -> None:
        random = np.random.default_rng(0)
        margins = [margin(random) for _ in range(300)]
        assert LEAST_MARGIN <= min(margins) < 2 * LEAST_MARGIN
        assert MOST / 2 < max(margins) <= MOST


class TestCandidates:
    def test_near_copies_of_trials_are_left_out(self) -> None:
        candidates = Candidates(SPACE)
        trials = scattered(6)
        points = candidates.draw(trials, np.random.default_rng(0))
        apart = candidates.apart(points, trials)
        theirs = candidates.points(trials)
        gaps = np.abs(points[:, None] - theirs).max(axis=2).min(axis=1)
        assert 0 < len(apart) < len(points)
        np.testing.assert_array_equal(apart, points[gaps >= APART])

    def test_a_climb_reaches_the_top_of_a_hill(self) -> None:
        candidates = Candidates(SPACE)
        top = np.array([0.62, 0.31])
        trials = [trained(0, 0.05, 0.95)]
        start = candidates.cube.uniform(20, np.random.default_rng(3))
        points, values = candidates.climb(
            start,
            lambda points: -np.abs(points - top).sum(axis=1),
            trials,
            np.random.default_rng(0),
        )
        before = np.abs(start - top).sum(axis=1).min()
        assert np.abs(points[0] - top).sum() < min(0.03, before)
        assert np.all(np.diff(values) <= 0)

    def test_a_climb_reaches_a_corner_that_a_slope_does_not_lead_to(self) -> None:
        """At 0 a number may switch something off, while next to it is not better than elsewhere."""
        candidates = Candidates(SPACE)
        points, values = candidates.climb(
            candidates.cube.uniform(20, np.random.default_rng(3)),
            lambda points: 1.0 * (points[:, 0] == 0) - np.abs(points[:, 1] - 0.4),
            [trained(0, 0.9, 0.9)],
            np.random.default_rng(0),
        )
        assert candidates.cube.params(points[0])["x"] == 0
        assert values[0] > 0.95

    def test_where_all_are_copies_a_climb_finds_nothing(self) -> None:
        space = {"n": IntDistribution(0, 3)}
        candidates = Candidates(space)
        trials = [ObservedTrial(n, {"n": n}, (1.0,), "over") for n in range(4)]
        start = candidates.cube.uniform(20, np.random.default_rng(0))
        points, values = candidates.climb(
            start, lambda points: points[:, 0], trials, np.random.default_rng(0)
        )
        assert len(points) == len(values) == 0


class TestFullTrainings:
    def choice(
        self, trials: list[ObservedTrial], paused: list[ObservedTrial], seed: int = 0
    ) -> tuple[int | None, Params]:
        model = FullTrainings(Candidates(SPACE), EPOCHS, {})
        seen = [*trials, *paused]
        chosen = model.choose(seen, paused, known(seen), np.random.default_rng(seed))
        assert chosen is not None
        assert "expected to reach" in chosen.reason
        return chosen.number, chosen.params

    def test_it_finds_the_bottom_of_the_bowl(self) -> None:
        trials = scattered(20)
        best = min(trial.best for trial in trials)
        improved = [loss(self.choice(trials, [], seed)[1]) < best for seed in range(10)]
        assert sum(improved) >= 7  # some margins look elsewhere

    def test_it_resumes_what_it_would_train(self) -> None:
        trials = scattered(20)
        good, bad = trained(20, 0.7, 0.2, epochs=2), trained(21, 0.05, 0.95, epochs=2)
        numbers = [self.choice(trials, [good, bad], seed)[0] for seed in range(10)]
        assert numbers.count(20) >= 7
        assert numbers.count(21) == 0

    def test_it_needs_several_full_trainings(self) -> None:
        model = FullTrainings(Candidates(SPACE), EPOCHS, {})
        short = [trained(n, 0.1 * n, 0.5, epochs=2) for n in range(9)]
        assert not model.are_enough([*scattered(LEAST - 1), *short])
        assert model.are_enough(scattered(LEAST))

    def test_from_its_memory_it_decides_the_same(self) -> None:
        trials = scattered(20)
        first = FullTrainings(Candidates(SPACE), EPOCHS, {})
        random = np.random.default_rng(1)
        expected = first.choose(trials, [], known(trials), random)
        later = FullTrainings(Candidates(SPACE), EPOCHS, first.memory)
        assert later.choose(trials, [], known(trials), np.random.default_rng(1)) == expected


def test_a_late_search_trains_no_near_copies_and_still_gets_on() -> None:
    chooser = FreezeThaw(SPACE, EPOCHS, seed=5)
    trials = scattered(LEAST)
    for _ in range(120):
        chosen = chooser.choose(trials, new=True)
        assert chosen is not None
        number = len(trials) if chosen.number is None else chosen.number
        done = len(trials[number].losses) if number < len(trials) else 0
        goal = next(rung for rung in rungs(EPOCHS) if rung > done)
        x, y = chosen.params["x"], chosen.params["y"]
        if number == len(trials):
            gaps = [max(abs(x - t.params["x"]), abs(y - t.params["y"])) for t in trials]
            assert min(gaps) >= APART
        trials[number:] = [trained(number, x, y, goal), *trials[number + 1 :]]
    assert min(trial.best for trial in trials) < 0.1 + 0.2 / EPOCHS + 2 * APART**2
