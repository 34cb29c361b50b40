"""Chooses trials by forecast: which would lower the best loss most if trained in full."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from scipy.special import ndtr

from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.gaussian_process import CurveProcess, Points
from search.scheduling.prior import DRAWN, Prior
from search.scheduling.rungs import next_rung, promotable, reached, rungs
from search.spaces.unit_cube import Array, UnitCube

CANDIDATES = 200  # new configurations per decision, drawn from the whole space
NEIGHBOURS = 20  # more of them around each of the LEADERS best trials
LEADERS = 5
UCB_FRACTION = 0.5  # share of choices by confidence bound, not by expected improvement
UCB_KAPPA = 3.0  # standard deviations below the mean, for the confidence bound
PAUSED_BONUS_TRAININGS = (
    20  # full trainings after which a paused trial's gain counts double; it grows further
)
FORGETTING = 10  # largest number of full trainings that speeds up forgetting of deviations
PAUSED_BONUS_WORKERS = 10  # running trials that raise a paused trial's weight by one
MAX_OBSERVATIONS = 256  # approximate losses to condition on; the cost grows with their cube
WEIGHED = 100  # most paused trials per decision
REFIT = 1.1  # refit the scales when the number of losses has grown by this factor


class FreezeThaw:
    """Chooses the trial expected to lower the best loss most if trained in full.

    It maximises the expected improvement (Jones et al., Efficient Global Optimization, 1998) at the
    last epoch, over all paused trials and many new configurations, with a model of losses at all
    epochs. Paused trials gain weight with the length of the search and the number of workers. Half
    of the choices, at random, use a confidence bound instead (Srinivas et al., Gaussian Process
    Optimization in the Bandit Setting, 2010). With a prior these are fewer, and configurations that
    it rates as very good are not judged by their first epochs. Running trials count with their
    expected losses, so that several workers spread out.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        epochs: int,
        seed: int,
        memory: Mapping[str, Any] | None = None,
        prior: Prior | None = None,
    ) -> None:
        """Choose for trials of at most ``epochs`` epochs.

        Args:
            distributions: The space.
            epochs: Length of a full training.
            seed: Seed of the study.
            memory: Stored state of an earlier chooser of the same study.
            prior: The prior; None for no warm start.
        """
        self._cube = UnitCube(distributions)
        self._rungs = rungs(epochs)
        self._length = math.log(max(epochs, 2))
        self._seed = seed
        self._prior = prior or Prior()
        if memory is None or memory.get("prior") != self._prior.source:
            memory = {}  # scales fitted with another prior do not apply
        self._surrogate = CurveProcess(self._cube.feature_count, memory.get("scales"))
        self._fitted = int(memory.get("losses", 0))
        self._points: dict[int, Array] = {}

    @property
    def memory(self) -> dict[str, Any]:
        """State for a later chooser: the scales, and the number of losses they were fitted to."""
        scales = [float(scale) for scale in self._surrogate.scales]
        return {"scales": scales, "losses": self._fitted, "prior": self._prior.source}

    def choose(
        self, seen: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        # Trials at late rungs with low losses first: they matter most.
        seen = sorted(seen, key=lambda trial: (-reached(trial, self._rungs), trial.best))
        may = promotable(seen, self._rungs, new=new) if paused else []
        spent = sum(len(trial.losses) for trial in seen)
        # Random numbers that depend on the trials alone.
        random = np.random.default_rng((self._seed, len(seen), spent))
        known = {trial.key for trial in seen}
        begun = sum(bool(trial.losses) for trial in seen)
        full = spent / self._rungs[-1]
        trusted = self._most_trusted(may) if self._prior.doubt(full) < 1 else None
        if trusted is not None:
            return NextTraining(trusted.number, trusted.params, self._prior.reason)
        if new and (len(seen) < self._prior.startup or begun < len(self._rungs)):
            # Seeded by the number of trials alone: worker speed must not change the proposals.
            chance = np.random.default_rng((self._seed, len(seen)))
            points = self._cube.uniform(DRAWN, chance)
            order = self._prior.expect(points, np.ones(len(points))).argsort(kind="stable")
            return self._first_new(points[order], known, self._prior.reason)
        if not may and not new:
            return None
        if begun < 2:
            return NextTraining(may[0].number, may[0].params, "") if may else None
        self._surrogate.forgetting = float(np.clip(full, 1, FORGETTING)) ** 2
        scale = self._learn(seen)
        goal = float(scale.to_model(min(trial.best for trial in seen)))
        may = may[:WEIGHED]
        points = np.vstack([self._points_of(may), *(self._new_ones(seen, random) if new else [])])
        mean, deviation = self._surrogate.predict(self._in_full(may, points))
        if random.random() < UCB_FRACTION * self._prior.doubt(full):
            order = np.argsort(mean - UCB_KAPPA * deviation, kind="stable")
        else:
            gain = _expected_improvement(goal, mean, deviation)
            running = sum(trial.state == "running" for trial in seen)
            gain[: len(may)] *= 1 + full / PAUSED_BONUS_TRAININGS + running / PAUSED_BONUS_WORKERS
            order = np.argsort(-gain, kind="stable")
        for best in order:
            why = (
                f"expected to reach {float(scale.to_loss(mean[best])):.4f}, "
                f"{ndtr((goal - mean[best]) / deviation[best]):.0%} likely to be the best"
            )
            if best < len(may):
                return NextTraining(may[best].number, may[best].params, why)
            choice = self._first_new(points[best : best + 1], known, why)
            if choice is not None:
                return choice
        return None

    def _new_ones(self, seen: Sequence[ObservedTrial], random: np.random.Generator) -> list[Array]:
        """New points (n, parameters): from the whole space, and near each of the best trials."""
        leaders = self._points_of(sorted(seen, key=lambda trial: trial.best)[:LEADERS])
        near = (self._cube.near(leader, NEIGHBOURS, random) for leader in leaders)
        return [self._cube.uniform(CANDIDATES, random), *near]

    def _in_full(self, trials: Sequence[ObservedTrial], points: Array) -> Points:
        """Points (n, parameters) at the last epoch: those of the trials, then new ones."""
        owners = [trial.number for trial in trials] + [-1] * (len(points) - len(trials))
        return self._placed(points, np.ones(len(points)), owners)

    def _first_new(
        self, points: Array, known: set[frozenset[tuple[str, Any]]], reason: str
    ) -> NextTraining | None:
        for point in points:
            params = self._cube.params(point)
            if frozenset(params.items()) not in known:
                return NextTraining(None, params, reason)
        return None

    def _learn(self, seen: Sequence[ObservedTrial]) -> "_Scale":
        """Condition the model on the trials; return the scale of the losses."""
        trials, epochs, losses = [], [], []
        looked_at = [_looked_at(trial, self._rungs) for trial in seen]
        for row in _worth_knowing([len(at) for at in looked_at]):
            for epoch in looked_at[row]:
                trials.append(seen[row])
                epochs.append(epoch)
                losses.append(min(seen[row].losses[:epoch]))
        scale = _Scale.of(np.array(losses))
        points = self._at(trials, epochs)
        values = scale.to_model(np.array(losses))
        total = sum(map(len, looked_at))
        if total >= REFIT * self._fitted:
            self._surrogate.fit(points, values)
            self._fitted = total
        self._surrogate.condition(points, values)
        running = [trial for trial in seen if trial.state == "running"]
        if running:
            ahead = [next_rung(self._rungs, len(trial.losses)) for trial in running]
            self._surrogate.believe(self._at(running, ahead))
        return scale

    def _at(self, trials: Sequence[ObservedTrial], epochs: Sequence[int]) -> Points:
        progress = np.log(np.array(epochs, dtype=np.float64)) / self._length
        return self._placed(self._points_of(trials), progress, [trial.number for trial in trials])

    def _placed(self, points: Array, progress: Array, owners: Sequence[int]) -> Points:
        return Points(
            self._cube.features(points),
            progress,
            np.array(owners, dtype=np.int64),
            self._prior.expect(points, progress),
        )

    def _most_trusted(self, paused: Sequence[ObservedTrial]) -> ObservedTrial | None:
        """The best of the paused trials that the prior rates too well to judge by a few epochs.

        Their losses count from the second-to-last rung on.
        """
        judged = self._rungs[-2:][0]  # a single rung is the last epoch: nothing pauses before it
        early = [t for t in paused if len(t.losses) < judged and t.best < math.inf]
        expected = self._prior.expect(self._points_of(early), np.ones(len(early)))
        if not np.any(expected <= self._prior.good):
            return None
        return early[int(expected.argmin())]

    def _points_of(self, trials: Sequence[ObservedTrial]) -> Array:
        """The points of trials, (trials, parameters)."""
        points = [self._point(trial) for trial in trials]
        return np.reshape(np.array(points), (-1, len(self._cube)))

    def _point(self, trial: ObservedTrial) -> Array:
        if trial.number not in self._points:
            self._points[trial.number] = self._cube.of(trial.params)
        return self._points[trial.number]


def _expected_improvement(goal: float, mean: Array, deviation: Array) -> Array:
    """Expected improvement below ``goal`` of normal variables, (n,); above counts as 0."""
    ahead = (goal - mean) / deviation
    density = np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi)
    return np.asarray(deviation * (ahead * ndtr(ahead) + density))


@dataclass(frozen=True)
class _Scale:
    """Maps losses to model values: logarithms, with the worse half compressed.

    Differences among bad configurations do not matter, and would hide those among good ones.
    """

    middle: float
    width: float
    worst: float

    @classmethod
    def of(cls, losses: Array) -> "_Scale":
        logs = np.log(np.maximum(losses[np.isfinite(losses)], 1e-12))
        if not len(logs):
            return cls(0.0, 1.0, 0.0)
        middle = float(np.median(logs))
        return cls(middle, max((middle - float(logs.min())) / 1.5, 1e-9), float(logs.max()))

    def to_model(self, losses: npt.ArrayLike) -> Array:
        losses = np.asarray(losses, dtype=np.float64)
        logs = np.where(
            np.isfinite(losses), np.log(np.maximum(losses, 1e-12)), self.worst + self.width
        )
        value = (logs - self.middle) / self.width
        return np.where(value > 0, np.log1p(np.maximum(value, 0.0)), value)

    def to_loss(self, values: npt.ArrayLike) -> Array:
        values = np.asarray(values, dtype=np.float64)
        drawn_apart = np.where(values > 0, np.expm1(np.maximum(values, 0.0)), values)
        return np.asarray(np.exp(self.middle + self.width * drawn_apart))


def _looked_at(trial: ObservedTrial, steps: tuple[int, ...]) -> tuple[int, ...]:
    """The epochs of a trial that the model uses: its rungs and its last epoch."""
    return _looked_at_of(len(trial.losses), steps)


@cache
def _looked_at_of(last: int, steps: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({rung for rung in steps if rung <= last} | ({last} if last else set())))


def _worth_knowing(sizes: Sequence[int]) -> Sequence[int]:
    """Rows of trials with up to MAX_OBSERVATIONS losses: the first, and a sample of the others.

    Args:
        sizes: Number of losses of each trial, (trials,).
    """
    ends = np.cumsum(sizes)
    if ends[-1] <= MAX_OBSERVATIONS:
        return range(len(sizes))
    sure = int(np.searchsorted(ends, MAX_OBSERVATIONS // 2))
    before = ends[sure - 1] if sure else 0
    step = math.ceil((ends[-1] - before) / (MAX_OBSERVATIONS - before))
    return [*range(sure), *range(sure, len(sizes), step)]
