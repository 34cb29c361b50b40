"""Decisions without actions: what to train next, and what a val_loss means.

Pure code but for the pruner, which is Optuna's and reads the study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

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
from optuna.trial import FrozenTrial, TrialState

from search.jobs import Verdict

ETA = 3  # reduction factor of the halving pruners
PATIENCE = 3  # how often a worker may die on the same epoch of a trial before it has failed


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
    number: int,
) -> dict[str, Any]:
    """A configuration for the trial that will have ``number``, before there is such a trial.

    A trial that asks for its parameters one by one can be cut off between two of them, and its
    sampler, begun again, draws the rest otherwise. One drawn whole is enqueued in one write.
    """
    trial = FrozenTrial(
        number=number,
        trial_id=-1,  # no sampler of ours looks into the storage for it
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(tz=timezone.utc),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
    together = sampler.infer_relative_search_space(study, trial)
    params = sampler.sample_relative(study, trial, together)
    for name, distribution in distributions.items():
        if name not in params:
            params[name] = sampler.sample_independent(study, trial, name, distribution)
    return {name: params[name] for name in distributions}


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Optuna's pruner by our name, for trials of at most ``epochs`` epochs, counted from 1."""
    pruners: dict[str, BasePruner] = {
        # The median of the finished trials at that epoch, once there are five, from epoch 3 on.
        "median": MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        "hyperband": HyperbandPruner(
            min_resource=1, max_resource=max(epochs, 1), reduction_factor=ETA
        ),
        "halving": SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA),
        "none": NopPruner(),
    }
    return pruners[name]


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: 0 to 2**32 - 1, unlike that of any other trial or study seed."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


@dataclass(frozen=True)
class Standing:
    """How far a search has come.

    Attributes:
        started: Trials of the study that count, whatever became of them.
        total: Trials that the study is to have.
        unfinished: Numbers of trials that were begun and wait to be taken up again.
        running: How many jobs are under way.
        closing: Nothing new is to be started: out of time, or interrupted.
    """

    started: int
    total: int
    unfinished: Sequence[int]
    running: int
    closing: bool


@dataclass(frozen=True)
class Resume:
    """Take this trial up again."""

    number: int


Move = Resume | Literal["begin", "wait", "end"]


def next_move(standing: Standing) -> Move:
    """What a free worker is to do: unfinished trials come before new ones."""
    if not standing.closing:
        if standing.unfinished:
            return Resume(standing.unfinished[0])
        if standing.started < standing.total:
            return "begin"
    return "wait" if standing.running else "end"


def verdict(trial: optuna.Trial, *, last: bool, closing: bool) -> Verdict:
    """What an epoch just reported means for its trial.

    Args:
        trial: The trial, its epoch reported.
        last: The training ends here by itself: there is nothing left to save.
        closing: Nothing is to go on. A trial that would be pruned is, even then, so that an
            interrupted search decides as the uninterrupted one.
    """
    if last:
        return Verdict.GO_ON
    if trial.should_prune():
        return Verdict.STOP
    return Verdict.PAUSE if closing else Verdict.GO_ON
