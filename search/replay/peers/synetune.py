"""Syne Tune's multi-fidelity schedulers, through suggest, on_trial_add and on_trial_result.

The schedulers of release 0.16 that learn from unfinished trainings: asynchronous successive halving
that stops trials and never resumes them, with configurations drawn at random, by kernel densities
(BOHB) or by density ratios (BORE). All have Syne Tune's defaults.
"""

import datetime
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.scheduling.seeds import trial_seed


class Scheduler:
    """A scheduler of Syne Tune that starts and stops trials."""

    knows_budget = False

    def __init__(self, scheduler: Any, seed: int) -> None:
        self._scheduler = scheduler
        self._seed = seed
        self._trials: list[Any] = []

    def work(self) -> ReplayJob | None:
        """Ask for a trial."""
        from syne_tune.backend.trial_status import Trial

        number = len(self._trials)
        # Its random searcher draws from NumPy's global state and ignores its seed.
        np.random.seed(trial_seed(self._seed, number))  # noqa: NPY002
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        created = datetime.datetime.now(tz=datetime.timezone.utc)
        trial = Trial(trial_id=number, config=suggestion.config, creation_time=created)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return ReplayJob(number, trial.config)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Report the loss."""
        decision = self._scheduler.on_trial_result(
            self._trials[config], {"loss": loss, "epoch": epoch}
        )
        return bool(decision == "CONTINUE")


def _domain(distribution: BaseDistribution) -> Any:
    from syne_tune import config_space

    if isinstance(distribution, CategoricalDistribution):
        return config_space.choice(list(distribution.choices))
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = distribution.low, distribution.high
    whole = isinstance(distribution, IntDistribution)
    if distribution.step and distribution.step != 1:
        count = round((high - low) / distribution.step) + 1
        return config_space.finrange(low, high, count, cast_int=whole)
    if whole:
        return (config_space.lograndint if distribution.log else config_space.randint)(low, high)
    return (config_space.loguniform if distribution.log else config_space.uniform)(low, high)


def _make(name: str, task: Task, seed: int, *_: int) -> Strategy:
    from syne_tune.optimizer import baselines

    logging.getLogger("syne_tune").setLevel(logging.ERROR)  # it warns about its own arguments
    scheduler = getattr(baselines, name)(
        config_space={name: _domain(d) for name, d in task.distributions.items()},
        metric="loss",
        time_attr="epoch",
        max_t=task.epochs,
        random_seed=seed,
    )
    return Scheduler(scheduler, seed)


STRATEGIES: Mapping[str, Maker] = {
    "synetune-asha": partial(_make, "ASHA"),
    "synetune-bohb": partial(_make, "BOHB"),
    "synetune-asha-bore": partial(_make, "ASHABORE"),
}
