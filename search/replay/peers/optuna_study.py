"""Optuna's own combinations of sampler and pruner, through ask, report, should_prune and tell.

A trial is one configuration, trained in full or until it is pruned. Pruned trials never resume.
Samplers and pruners have Optuna's defaults, except that pruners that need a minimum and a maximum
number of epochs get the first epoch and the task's last.
"""

import math
from collections.abc import Mapping
from functools import partial

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from search.replay.simulation import Maker, ReplayJob, Strategy, Task


class OptunaStudy:
    """A study of Optuna. A trial's value is its lowest loss, as in treino."""

    knows_budget = False

    def __init__(self, task: Task, seed: int, sampler: BaseSampler, pruner: BasePruner) -> None:
        # Hyperband's bracket of a trial is a hash of the study's name and the trial's number.
        self._study = optuna.create_study(study_name=f"{seed}", sampler=sampler, pruner=pruner)
        self._space = dict(task.distributions)
        self._epochs = task.epochs
        self._trials: list[optuna.Trial] = []
        self._lowest: list[float] = []

    def work(self) -> ReplayJob:
        """Ask for a trial."""
        trial = self._study.ask(self._space)
        self._trials.append(trial)
        self._lowest.append(math.inf)
        return ReplayJob(trial.number, trial.params)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Report the loss, and tell the trial if it ends."""
        trial = self._trials[config]
        trial.report(loss, epoch)
        self._lowest[config] = min(self._lowest[config], loss)
        if epoch >= self._epochs:
            self._study.tell(trial, self._lowest[config])
            return False
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


def _make(sampler: str, pruner: str, task: Task, seed: int, *_: int) -> Strategy:
    pruners: dict[str, BasePruner] = {
        "none": NopPruner(),
        "median": MedianPruner(),
        "hyperband": HyperbandPruner(min_resource=1, max_resource=task.epochs, reduction_factor=3),
        "halving": SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    }
    drawing = RandomSampler(seed=seed) if sampler == "random" else TPESampler(seed=seed)
    return OptunaStudy(task, seed, drawing, pruners[pruner])


STRATEGIES: Mapping[str, Maker] = {
    "random": partial(_make, "random", "none"),
    "optuna-tpe": partial(_make, "tpe", "none"),
    "optuna-tpe-median": partial(_make, "tpe", "median"),
    "optuna-tpe-hyperband": partial(_make, "tpe", "hyperband"),
    "optuna-tpe-halving": partial(_make, "tpe", "halving"),
    "optuna-random-halving": partial(_make, "random", "halving"),
}
