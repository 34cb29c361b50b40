"""Syne Tune's multi-fidelity schedulers, through suggest, on_trial_add and on_trial_result.

The schedulers of release 0.16 that learn from unfinished trainings: asynchronous successive halving
that stops trials and never resumes them, with configurations drawn at random, by kernel densities
(BOHB) or by density ratios (BORE). MOASHA has two objectives, loss and size, and draws at random.
All have Syne Tune's defaults.
"""

from __future__ import annotations

import datetime
import logging
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer import baselines
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start


class Scheduler:
    """A scheduler of Syne Tune that starts and stops trials."""

    def __init__(self, start: Start) -> None:
        logging.getLogger("syne_tune").setLevel(logging.ERROR)  # it warns about its own arguments
        self._parameters = start.parameters()
        self._seed = start.seed
        common = {
            "config_space": {p.name: _domain(p) for p in self._parameters},
            "time_attr": "epoch",
            "max_t": start.epochs,
            "random_seed": start.seed,
        }
        if start.options["scheduler"] == "MOASHA":
            self._scheduler = MOASHA(metrics=["loss", "size"], **common)
        else:
            self._scheduler = getattr(baselines, start.options["scheduler"])(
                metric="loss", **common
            )
        self._trials: list[Any] = []

    def work(self) -> Job | None:
        """Ask for a trial."""
        number = len(self._trials)
        # Its random searcher draws from NumPy's global state and ignores its seed.
        np.random.seed(random.Random(f"{self._seed} {number}").getrandbits(32))  # noqa: NPY002
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        created = datetime.datetime.now(tz=datetime.timezone.utc)
        trial = Trial(trial_id=number, config=suggestion.config, creation_time=created)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return number, {p.name: p.value(_searched(p, trial.config)) for p in self._parameters}

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        """Report the loss."""
        result = {"loss": loss, "epoch": epoch}
        if size:
            if not math.isfinite(loss):  # its sort knows no distance from such a loss
                self._scheduler.on_trial_remove(self._trials[config])
                return False
            (result["size"],) = size
        decision = self._scheduler.on_trial_result(self._trials[config], result)
        return bool(decision == "CONTINUE")


def _searched(parameter: Parameter, config: dict[str, Any]) -> Any:
    value = config[parameter.name]
    return parameter.choices.index(value) if parameter.kind == "categorical" else value


def _domain(parameter: Parameter) -> Any:
    if parameter.kind == "categorical":
        return config_space.choice(list(parameter.choices))
    if parameter.kind == "int":
        kind = config_space.lograndint if parameter.log else config_space.randint
    else:
        kind = config_space.loguniform if parameter.log else config_space.uniform
    return kind(parameter.low, parameter.high)


def make(start: Start) -> Scheduler:
    """See serve.py."""
    return Scheduler(start)
