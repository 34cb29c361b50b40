"""Samplers: how the next configuration is proposed, by the names of the setting."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.scheduling.asha import AsyncHalving
from search.scheduling.chooser import Chooser, NextTraining, ObservedTrial
from search.scheduling.freeze_thaw import FreezeThaw
from search.scheduling.loss_scale import RESOLUTION, RESOLUTION_OF_SHARES
from search.scheduling.prior import Prior
from search.scheduling.rungs import ETA, STARTUP
from search.scheduling.seeds import trial_seed
from search.spaces.room import Room
from search.spaces.unit_cube import Params, UnitCube

DUPLICATES = 100  # duplicates in a row, after which the space counts as used up


OPTUNA: Mapping[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    # It avoids running trials.
    "tpe": lambda seed: TPESampler(
        seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True
    ),
}
"""Samplers of Optuna, by the names of the setting. Each maps a seed to a sampler for one trial."""


def make_sampler(name: str, seed: int, number: int) -> BaseSampler:
    """Create the sampler for one trial, seeded by the study's seed and the trial's number.

    A sampler that lives as long as the process would repeat its samples when the search resumes.
    One sampler per trial draws the same samples despite interruptions.
    """
    return OPTUNA[name](trial_seed(seed, number))


def propose(
    study: optuna.Study,
    sampler: BaseSampler,
    distributions: Mapping[str, BaseDistribution],
    tried: Callable[[Params], bool],
    room: Room | None = None,
    seed: int = 0,
) -> Params | None:
    """Draw a configuration for the study's next trial, before that trial exists.

    A trial that asks for its parameters one by one can be interrupted between two of them, and a
    restarted sampler would draw different values for the rest. A complete configuration is stored
    in one write. It is drawn in a copy of the study, because samplers write to their trial.

    Args:
        study: The study, without enqueued trials.
        sampler: The sampler.
        distributions: The space.
        tried: Whether a configuration was already trained.
        room: Which configurations may be proposed; None for all.
        seed: Of the trial, to draw at random where the sampler proposes none that fits.

    Returns:
        The configuration; None after DUPLICATES known ones in a row.
    """
    cube = UnitCube(distributions, room.fits if room else None)
    # The study's name and the trial's number decide its bracket, if the pruner has brackets.
    copy = optuna.create_study(study_name=study.study_name, sampler=sampler, pruner=study.pruner)
    if not isinstance(sampler, RandomSampler):  # it does not use other trials
        copy.add_trials(study.get_trials(deepcopy=False))
    missed = 0
    for _ in range(DUPLICATES):
        trial = copy.ask(dict(distributions))
        if room is not None and not room.fits(cube.of(trial.params)[None])[0]:
            copy.tell(trial, state=TrialState.FAIL)  # samplers learn nothing from it
            missed += 1
        elif not tried(trial.params):
            return trial.params
    if not missed:
        return None
    # Few configurations fit: draw among those.
    drawn = map(cube.params, cube.uniform(DUPLICATES, np.random.default_rng((seed, missed))))
    return next((params for params in drawn if not tried(params)), None)


class OptunaSampling:
    """Starts new trials only, drawn by Optuna's sampler."""

    memory = None

    def __init__(
        self,
        study: optuna.Study,
        sampler: str,
        distributions: Mapping[str, BaseDistribution],
        seed: int,
        room: Room | None = None,
    ) -> None:
        """Draw for ``study`` from ``distributions``: what fits ``room``."""
        self._study, self._sampler = study, sampler
        self._distributions, self._seed, self._room = distributions, seed, room

    def choose(
        self, trials: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        if not new:
            return None
        tried = {trial.key for trial in trials}
        params = propose(
            self._study,
            make_sampler(self._sampler, self._seed, len(trials)),
            self._distributions,
            lambda p: frozenset(p.items()) in tried,
            self._room,
            trial_seed(self._seed, len(trials)),
        )
        return None if params is None else NextTraining(None, params, "")


def make_chooser(
    sampler: str,
    distributions: Mapping[str, BaseDistribution],
    epochs: int,
    seed: int,
    *,
    study: optuna.Study | None = None,
    memory: Mapping[str, Any] | None = None,
    steps: Sequence[int] = (),
    prior: Prior | None = None,
    room: Room | None = None,
    shares: bool = False,
    size: str = "",
) -> Chooser:
    """Create the chooser between new and paused trials, by the name of its sampler.

    Args:
        sampler: ``gp`` chooses by forecast; those of OPTUNA propose new trials, and the best third
            of each rung is promoted.
        distributions: The space.
        epochs: Length of a full training.
        seed: Of the study.
        study: The study, if trials do not pause: then Optuna's samplers are unmodified, on the
            study's trials.
        memory: Stored state of an earlier chooser of the same study.
        steps: Rungs for Optuna's samplers; ``rungs(epochs)`` by default.
        prior: The prior of ``gp``; None for no warm start.
        room: Which configurations may be proposed; None for all.
        shares: Whether the objective is 1 minus a share, such as the accuracy.
        size: The size that ``gp`` minimises, too, as ``room`` knows it; empty for none.
    """
    if sampler == "gp":
        resolution = RESOLUTION_OF_SHARES if shares else RESOLUTION
        sizes = partial(room.sizes.of, name=size) if room is not None and size else None
        return FreezeThaw(distributions, epochs, seed, memory, prior, room, resolution, sizes)
    if study is not None:
        return OptunaSampling(study, sampler, distributions, seed, room)

    def new(trials: Sequence[ObservedTrial], steps: Sequence[int]) -> Params | None:
        number = len(trials)
        tried = {trial.key for trial in trials}
        study = optuna.create_study()
        # A third at random, as in BOHB (Falkner et al., 2018).
        if sampler != "random" and np.random.default_rng((seed, number)).random() >= 1 / ETA:
            study.add_trials(_deepest_rung(trials, steps, distributions))
        return propose(
            study,
            make_sampler(sampler, seed, number),
            distributions,
            lambda p: frozenset(p.items()) in tried,
            room,
            trial_seed(seed, number),
        )

    return AsyncHalving(epochs, new, steps)


def _deepest_rung(
    trials: Sequence[ObservedTrial],
    steps: Sequence[int],
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Trials at the deepest rung that STARTUP of them reached, with losses up to that rung."""
    for rung in reversed(steps):
        there = [trial for trial in trials if len(trial.losses) >= rung]
        if len(there) >= STARTUP:
            return [
                optuna.trial.create_trial(
                    params=dict(trial.params),
                    distributions=dict(distributions),
                    value=min(trial.losses[:rung]),
                )
                for trial in there
                if math.isfinite(min(trial.losses[:rung]))
            ]
    return []
