"""Chooses trials by forecast: which would lower the best loss most if trained in full."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from search.scheduling.candidates import Candidates, Key
from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.favourites import DRAWN, Favourites
from search.scheduling.full_trainings import FullTrainings
from search.scheduling.gaussian_process import CurveProcess, Points
from search.scheduling.loss_scale import RESOLUTION, LossScale
from search.scheduling.prior import Prior, told_trust, trusted_in
from search.scheduling.rungs import STARTUP, next_rung, promotable, reached, rungs
from search.scheduling.targets import LargestFront, LowestLoss, SizeRange, Sizes, Target
from search.scheduling.trust import Measured, trust
from search.spaces.room import Room
from search.spaces.unit_cube import Array

SIZED = 2000  # configurations that show the range of sizes
SHARPNESS = 2  # power of the trust in the share of decisions that follow recorded curves
FULL_SHARE = 0.7  # share of decisions by the model of full trainings, once there are enough
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
    Optimization in the Bandit Setting, 2010). Running trials count with their expected losses, so
    that several workers spread out.

    After some full trainings, most decisions are by a model of those alone, and no new
    configuration is a near copy of an earlier one.

    With sizes, it maximises the expected improvement of the hypervolume of the front of loss and
    size instead (``search.scheduling.targets``).

    With a prior, some decisions follow recorded curves instead: a new configuration is the one of
    which they expect most, and it trains to its end. The share of these decisions grows with how
    far the curves are trusted (``search.scheduling.trust``). The models themselves know only the
    losses of the study.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        epochs: int,
        seed: int,
        memory: Mapping[str, Any] | None = None,
        prior: Prior | None = None,
        room: Room | None = None,
        resolution: float = RESOLUTION,
        sizes: Sizes | None = None,
    ) -> None:
        """Choose for trials of at most ``epochs`` epochs.

        Args:
            distributions: The space.
            epochs: Length of a full training.
            seed: Seed of the study.
            memory: Stored state of an earlier chooser of the same study.
            prior: The prior; None for no warm start.
            room: Which configurations may be new trials; None for all.
            resolution: Losses below it count as equal to it.
            sizes: Sizes (n,) of the networks at points (n, parameters), to minimise, too; None to
                minimise the loss alone.
        """
        self._resolution = resolution
        self._candidates = Candidates(distributions, room)
        self._cube = self._candidates.cube
        self._sizes = sizes
        self._rungs = rungs(epochs)
        self._length = math.log(max(epochs, 2))
        self._seed = seed
        self._prior = prior or Prior()
        self._favourites = Favourites(self._prior, self._candidates, seed)
        features = self._cube.feature_count
        self._surrogate = CurveProcess(features, _scales_in(memory or {}, features))
        self._fitted = int((memory or {}).get("losses", 0))
        trusted = trusted_in(memory or {})
        self._trust = np.array(list(trusted.values()), dtype=np.float64)
        if list(trusted) != self._prior.names:
            self._trust, self._fitted = self._prior.trust, 0
        full = (memory or {}).get("full trainings", {})
        self._full = FullTrainings(self._candidates, self._rungs[-1], full, resolution)

    @property
    def memory(self) -> dict[str, Any]:
        """State for a later chooser.

        The scales, the number of losses that they were fitted to, and how far each source of
        recorded curves was trusted then; and the memory of the model of full trainings.
        """
        scales = [float(scale) for scale in self._surrogate.scales]
        return {
            "scales": scales,
            "losses": self._fitted,
            "prior": dict(zip(self._prior.names, map(float, self._trust), strict=True)),
            "full trainings": self._full.memory,
        }

    def choose(
        self, trials: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        # Trials at late rungs with low losses first: they matter most.
        trials = sorted(trials, key=lambda trial: (-reached(trial, self._rungs), trial.best))
        may = promotable(trials, self._rungs, new=new) if paused else []
        spent = sum(len(trial.losses) for trial in trials)
        # Random numbers that depend on the trials alone.
        random = np.random.default_rng((self._seed, len(trials), spent))
        tried = {trial.key for trial in trials}
        begun = sum(bool(trial.losses) for trial in trials)
        full = spent / self._rungs[-1]
        if new and (len(trials) < self._prior.startup or begun < len(self._rungs)):
            return self._start(trials, tried)
        if not may and not new:
            return None
        if begun < 2:
            return NextTraining(may[0].number, may[0].params, "") if may else None
        self._surrogate.forgetting = float(np.clip(full, 1, FORGETTING)) ** 2
        scale = self._learn(trials)
        if new and len(self._prior):
            followed = self._follow(trials, may, tried, spent)
            if followed is not None:
                return followed
        late = new and self._sizes is None and self._full.are_enough(trials)
        chance = np.random.default_rng((self._seed, len(trials), spent, 3))
        if late and chance.random() < FULL_SHARE:
            chosen = self._full.choose(trials, may, tried, chance)
            if chosen is not None:
                return chosen
        target = self._target(trials, scale)
        may = may[:WEIGHED]
        fresh = self._candidates.points([])
        if new:
            fresh = self._fresh(trials, target.leaders(), random, late=late)
        points = np.vstack([self._candidates.points(may), fresh])
        mean, deviation = self._surrogate.predict(self._in_full(may, points))
        if random.random() < UCB_FRACTION:
            order = target.by_bound(mean - UCB_KAPPA * deviation, points)
        else:
            gain = target.log_gain(mean, deviation, points, random)
            running = sum(trial.state == "running" for trial in trials)
            bonus = 1 + full / PAUSED_BONUS_TRAININGS + running / PAUSED_BONUS_WORKERS
            gain[: len(may)] += math.log(bonus)
            order = np.argsort(-gain, kind="stable")
        for best in order:
            why = target.prospect(float(mean[best]), float(deviation[best]), points[best])
            if best < len(may):
                return NextTraining(may[best].number, may[best].params, why)
            choice = self._candidates.first_new(points[best : best + 1], tried, why)
            if choice is not None:
                return choice
        return None

    def _target(self, trials: Sequence[ObservedTrial], scale: LossScale) -> Target:
        sizes = self._size_range()
        if sizes is None:
            return LowestLoss(trials, scale)
        return LargestFront(trials, sizes.of(self._candidates.points(trials)), sizes, scale)

    def _size_range(self) -> SizeRange | None:
        """What is known of sizes now; None if only the loss is minimised."""
        return None if self._sizes is None else SizeRange(self._sizes, self._everywhere)

    @cached_property
    def _everywhere(self) -> Array:
        """Points (SIZED, parameters) that show the range of sizes."""
        return self._candidates.lasting(SIZED, np.random.default_rng(0))

    def _fresh(
        self,
        trials: Sequence[ObservedTrial],
        leaders: Sequence[ObservedTrial],
        random: np.random.Generator,
        *,
        late: bool,
    ) -> Array:
        """New points (n, parameters) to choose from."""
        points = self._candidates.draw(leaders, random)
        apart = self._candidates.apart(points, trials) if late else points
        return apart if len(apart) else points

    def _start(
        self, trials: Sequence[ObservedTrial], tried: AbstractSet[Key]
    ) -> NextTraining | None:
        """A trial before the model decides: at random, or one that the recorded curves favour.

        With a prior some of the first are random, to tell whether the prior is right.
        """
        count = len(trials)
        if len(self._prior) and (count % 2 == 0 or count >= self._prior.startup):
            return self._favourite(trials, tried)
        return self._random(count, tried)

    def _random(self, count: int, tried: AbstractSet[Key]) -> NextTraining | None:
        # Seeded by the number of trials alone: worker speed must not change the proposals.
        chance = np.random.default_rng((self._seed, count))
        return self._candidates.first_new(self._cube.uniform(DRAWN, chance), tried, "")

    def _follow(
        self,
        trials: Sequence[ObservedTrial],
        paused: Sequence[ObservedTrial],
        tried: AbstractSet[Key],
        spent: int,
    ) -> NextTraining | None:
        """What the recorded curves would train next; None if the study's own model decides.

        Among good configurations the first epochs say little about the last. So favourites train
        to their end, as often as the recorded curves are trusted.
        """
        count = len(trials)
        chance = np.random.default_rng((self._seed, count, spent, 1))
        if chance.random() >= self._trust.sum() ** SHARPNESS:
            return self._random(count, tried) if count < STARTUP else None
        able = [trial for trial in paused if trial.best < math.inf]
        best = self._favourites.best_of(able, self._trust, self._size_range())
        if best is None:
            return self._favourite(trials, tried)
        return NextTraining(best.number, best.params, self._reason)

    def _favourite(
        self, trials: Sequence[ObservedTrial], tried: AbstractSet[Key]
    ) -> NextTraining | None:
        """A new trial of which the recorded curves expect most.

        At the end of its training; while others train, at a random one of the first epoch and the
        rungs. The favourites of one epoch are much alike, and many workers start many of them.
        """
        progress = 1.0
        if any(trial.state == "running" for trial in trials):
            chance = np.random.default_rng((self._seed, len(trials), 4))
            progress = math.log(chance.choice((1, *self._rungs))) / self._length
        points = self._favourites.ranked(trials, self._trust, progress, self._size_range())
        return self._candidates.first_new(points, tried, self._reason)

    @property
    def _reason(self) -> str:
        return f"expected to do well: {told_trust(trusted_in(self.memory))}"

    def _in_full(self, trials: Sequence[ObservedTrial], points: Array) -> Points:
        """Points (n, parameters) at the last epoch: those of the trials, then new ones."""
        owners = [trial.number for trial in trials] + [-1] * (len(points) - len(trials))
        return self._placed(points, np.ones(len(points)), owners)

    def _learn(self, trials: Sequence[ObservedTrial]) -> LossScale:
        """Condition the model on the trials; return the scale of the losses."""
        observed, epochs, losses = [], [], []
        looked_at = [_looked_at(trial, self._rungs) for trial in trials]
        for row in _worth_knowing([len(at) for at in looked_at]):
            for epoch in looked_at[row]:
                observed.append(trials[row])
                epochs.append(epoch)
                losses.append(min(trials[row].losses[:epoch]))
        scale = LossScale.of(np.array(losses), self._resolution)
        points = self._at(observed, epochs)
        values = scale.to_model(np.array(losses))
        total = sum(map(len, looked_at))
        if total >= REFIT * self._fitted:
            self._trust = self._judged(observed, epochs, points, values)
            self._surrogate.fit(points, values)
            self._fitted = total
        self._surrogate.condition(points, values)
        running = [trial for trial in trials if trial.state == "running"]
        if running:
            ahead = [next_rung(self._rungs, len(trial.losses)) for trial in running]
            self._surrogate.believe(self._at(running, ahead))
        return scale

    def _at(self, trials: Sequence[ObservedTrial], epochs: Sequence[int]) -> Points:
        progress = np.log(np.array(epochs, dtype=np.float64)) / self._length
        return self._placed(
            self._candidates.points(trials), progress, [trial.number for trial in trials]
        )

    def _placed(self, points: Array, progress: Array, owners: Sequence[int]) -> Points:
        return Points(self._cube.features(points), progress, np.array(owners, dtype=np.int64))

    def _judged(
        self, trials: Sequence[ObservedTrial], epochs: Sequence[int], points: Points, values: Array
    ) -> Array:
        """How far each source is trusted, (sources,)."""
        if not len(self._prior):
            return self._trust
        own = self._surrogate.left_out(points, values)
        places = self._candidates.points(trials)
        theirs = self._prior.expect(places, points.progress)
        final = self._prior.expect(places, np.ones(len(places)))
        measured = Measured(values, np.array(epochs), points.owner, self._rungs[-1])
        random = np.random.default_rng((self._seed, len(values)))
        return trust(own, theirs, final, measured, self._prior.trust, random)


def _scales_in(memory: Mapping[str, Any], features: int) -> list[float] | None:
    """The scales that an earlier chooser fitted; None if there are none."""
    scales = memory.get("scales")
    if scales is not None and len(scales) == features + 6:
        # Of an earlier version: the variance before the noise's was of no use without a prior.
        return [*scales[:-2], scales[-1]]
    return scales


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
