"""Samplers and pruners: what to train next, and when to stop a trial.

Pure, except for Optuna's pruner, which reads the study.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from search.scheduling.asha import ETA, STARTUP, AsyncHalving, Chooser, NextTraining, ObservedTrial
from search.scheduling.freeze_thaw import FreezeThaw
from search.scheduling.prior import Prior
from search.spaces.unit_cube import Params

DUPLICATES = 100  # configurations in a row that were all trained before: the space is used up


def make_sampler(name: str, seed: int, number: int) -> BaseSampler:
    """The sampler for one trial, seeded by the study's seed and the trial's number.

    A sampler that lives as long as the process would repeat its samples when the search is
    continued; one of its own for each trial draws the same whatever was interrupted before it.
    """
    own = trial_seed(seed, number)
    if name == "random":
        return RandomSampler(seed=own)
    # Ten trials are drawn at random before the model takes over; running trials repel it.
    return TPESampler(seed=own, n_startup_trials=10, multivariate=True, constant_liar=True)


def propose(
    study: optuna.Study,
    sampler: BaseSampler,
    distributions: Mapping[str, BaseDistribution],
    known: Callable[[Params], bool],
) -> Params | None:
    """A configuration for the study's next trial, before there is such a trial.

    A trial that asks for its parameters one by one can be cut off between two of them, and its
    sampler, begun again, draws the rest otherwise. One drawn whole is enqueued in one write. It is
    drawn in a copy of the study, because a sampler writes to the trial that it draws for.

    Args:
        study: The study; none of its trials waits to be begun.
        sampler: What draws.
        distributions: The space.
        known: Says of a configuration whether it was trained already.

    Returns:
        The configuration; None if DUPLICATES in a row were known.
    """
    # The name and the numbers decide a trial's bracket, should the pruner have such.
    copy = optuna.create_study(study_name=study.study_name, sampler=sampler, pruner=study.pruner)
    if not isinstance(sampler, RandomSampler):  # which looks at no trial
        copy.add_trials(study.get_trials(deepcopy=False))
    for _ in range(DUPLICATES):
        params = copy.ask(dict(distributions)).params
        if not known(params):
            return params
    return None


class OptunaSampling:
    """Begins new trials only, as Optuna's sampler draws them."""

    memory = None

    def __init__(
        self,
        study: optuna.Study,
        sampler: str,
        distributions: Mapping[str, BaseDistribution],
        seed: int,
    ) -> None:
        """Draw for ``study`` from ``distributions``."""
        self._study, self._sampler = study, sampler
        self._distributions, self._seed = distributions, seed

    def choose(
        self, seen: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        if not new:
            return None
        known = {trial.key for trial in seen}
        sampler = make_sampler(self._sampler, self._seed, len(seen))
        params = propose(
            self._study, sampler, self._distributions, lambda p: frozenset(p.items()) in known
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
) -> Chooser:
    """What decides between new and paused trials, by the name of its sampler.

    Args:
        sampler: ``gp`` chooses by forecast; ``tpe`` and ``random`` propose new trials, and the
            best third of each rung is promoted.
        distributions: The space.
        epochs: Length of a full training.
        seed: Of the study.
        study: The study, where no trial is paused: then ``tpe`` and ``random`` are Optuna's
            samplers as they are, with the trials as the study has them.
        memory: What an earlier chooser of the same study remembered.
        steps: Rungs for ``tpe`` and ``random``, if they are not to be ``rungs(epochs)``.
        prior: What ``gp`` knows before the first trial; None for nothing.
    """
    if sampler == "gp":
        return FreezeThaw(distributions, epochs, seed, memory, prior)
    if study is not None:
        return OptunaSampling(study, sampler, distributions, seed)

    def new(seen: Sequence[ObservedTrial], steps: Sequence[int]) -> Params | None:
        number = len(seen)
        known = {trial.key for trial in seen}
        study = optuna.create_study()
        # A third at random, as in BOHB (Falkner et al., 2018).
        if sampler == "tpe" and np.random.default_rng((seed, number)).random() >= 1 / ETA:
            study.add_trials(_deepest_rung(seen, steps, distributions))
        drawing = make_sampler(sampler, seed, number)
        return propose(study, drawing, distributions, lambda p: frozenset(p.items()) in known)

    return AsyncHalving(epochs, new, steps)


def _deepest_rung(
    seen: Sequence[ObservedTrial],
    steps: Sequence[int],
    distributions: Mapping[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Trials as of the deepest rung that STARTUP of them have reached: losses of one length."""
    for rung in reversed(steps):
        there = [trial for trial in seen if len(trial.losses) >= rung]
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


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Optuna's pruner by our name, for trials of at most ``epochs`` epochs, counted from 1."""
    pruners: dict[str, BasePruner] = {
        # The median of the finished trials at that epoch, once there are five, from epoch 3 on.
        "median": MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        "hyperband": HyperbandPruner(
            min_resource=1, max_resource=max(epochs, 1), reduction_factor=ETA
        ),
        "halving": SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA),
        "promote": NopPruner(),  # the tuner's chooser pauses and resumes; nothing is ended early
        "none": NopPruner(),
    }
    return pruners[name]


def training_seed(seed: int) -> int:
    """A seed that Keras and NumPy's old generators take, 0 to 2**32 - 1.

    It is the seed itself wherever that is one; larger ones, as clocks give them, stay unlike.
    """
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: 0 to 2**32 - 1, unlike that of any other trial or study seed."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
