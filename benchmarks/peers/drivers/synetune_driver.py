"""Syne Tune's schedulers, through suggest, on_trial_add, on_trial_result and on_trial_complete.

The schedulers of release 0.16 that learn from unfinished trainings: asynchronous successive halving
that stops trials and never resumes them, with configurations drawn at random, by kernel densities
(BOHB) or by density ratios (BORE). MOASHA has two objectives, loss and size, and draws at random.

With the curves of other tasks, those that learn from them: ZeroShotTransfer (Wistuba et al., 2015),
BoundingBox (Perrone et al., 2019) around BORE or around asynchronous successive halving, and the
quantile-based searcher (Salinas et al., 2020). All but the one with successive halving train each
configuration in full. All have Syne Tune's defaults.
"""

from __future__ import annotations

import datetime
import importlib
import logging
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer import baselines
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start


class Scheduler:
    """A scheduler of Syne Tune that starts and stops trials."""

    def __init__(self, start: Start) -> None:
        logging.getLogger("syne_tune").setLevel(logging.ERROR)  # it warns about its own arguments
        self._parameters = start.parameters()
        self._epochs = start.epochs
        self._seed = start.seed
        space = {p.name: _domain(p) for p in self._parameters}
        made = _transferring if start.sources else _scheduler
        self._scheduler = made(start, space)
        # In release 0.16 its suggest() draws at random, and its get_config() is what it is for.
        self._zero_shot = start.options["scheduler"] == "ZeroShotTransfer"
        self._trials: list[Any] = []

    def work(self) -> Job | None:
        """Ask for a trial."""
        number = len(self._trials)
        # Its random searcher draws from NumPy's global state and ignores its seed.
        np.random.seed(random.Random(f"{self._seed} {number}").getrandbits(32))  # noqa: NPY002
        config = self._suggested()
        if config is None:
            return None
        created = datetime.datetime.now(tz=datetime.timezone.utc)
        trial = Trial(trial_id=number, config=config, creation_time=created)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return number, {p.name: p.value(_searched(p, trial.config)) for p in self._parameters}

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        """Report the loss."""
        result = {"loss": loss, "epoch": epoch}
        if self._zero_shot:  # it learns nothing from this search
            return True
        if size:
            if not math.isfinite(loss):  # its sort knows no distance from such a loss
                self._scheduler.on_trial_remove(self._trials[config])
                return False
            (result["size"],) = size
        decision = self._scheduler.on_trial_result(self._trials[config], result)
        if decision == "CONTINUE" and epoch == self._epochs:
            self._scheduler.on_trial_complete(self._trials[config], result)
        return bool(decision == "CONTINUE")

    def _suggested(self) -> dict[str, Any] | None:
        if self._zero_shot:
            config: dict[str, Any] | None = self._scheduler.get_config()
            return config
        suggestion = self._scheduler.suggest()
        return None if suggestion is None else suggestion.config


def _scheduler(start: Start, space: dict[str, Any]) -> Any:
    name = start.options["scheduler"]
    common = {
        "config_space": space,
        "time_attr": "epoch",
        "max_t": start.epochs,
        "random_seed": start.seed,
    }
    if name == "MOASHA":
        return MOASHA(metrics=["loss", "size"], **common)
    return getattr(baselines, name)(metric="loss", **common)


def _transferring(start: Start, space: dict[str, Any]) -> Any:
    from pandas import DataFrame

    name, seed = start.options["scheduler"], start.seed % 2**32
    np.random.seed(seed)  # noqa: NPY002 - some of their parts draw from it
    others = {
        task: _transfer("transfer_learning_task_evaluation").TransferLearningTaskEvaluations(
            configuration_space=space,
            hyperparameters=DataFrame([curve["params"] for curve in curves]),
            objectives_names=["loss"],
            objectives_evaluations=np.array([[c["losses"]] for c in curves])[..., None],
        )
        for task, curves in start.sources.items()
    }

    def inside(box: dict[str, Any], metric: str, minimize: bool, seed: int) -> Any:
        common = {"config_space": box, "metric": metric, "random_seed": seed}
        if name == "BoundingBoxBORE":
            return baselines.BORE(do_minimize=minimize, **common)
        options = {"time_attr": "epoch", "max_t": start.epochs}
        return baselines.ASHA(do_minimize=minimize, **common, **options)

    common = {"config_space": space, "transfer_learning_evaluations": others, "random_seed": seed}
    if name == "ZeroShotTransfer":
        return _transfer("zero_shot").ZeroShotTransfer(metric="loss", **common)
    if name == "QuantileBased":
        quantiles = _transfer("quantile_based.quantile_based_searcher")
        searcher = quantiles.QuantileBasedSurrogateSearcher(**common)
        return SingleObjectiveScheduler(space, metric="loss", searcher=searcher, random_seed=seed)
    return _transfer("bounding_box").BoundingBox(inside, metric="loss", **common)


def _transfer(module: str) -> Any:
    """A module of Syne Tune's, imported here because it imports scikit-learn and XGBoost."""
    return importlib.import_module(f"syne_tune.optimizer.schedulers.transfer_learning.{module}")


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
