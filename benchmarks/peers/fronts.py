"""Peers that search for the front of two objectives: loss and size (``benchmarks.fronts``).

Optuna's samplers train every trial in full: neither its reports nor its pruners work with several
objectives. Syne Tune's and NePS's multi-objective successive halving judge at rungs. All are told
the size as the hypervolume counts it, a logarithm from 0 to 1, and have their makers' defaults.
"""

import math
from collections.abc import Mapping
from functools import partial

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from benchmarks.fronts import SizedTask
from benchmarks.peers.bridge import DRIVERS, Driven, Environment
from search.replay.simulation import Maker, ReplayJob, Strategy, Task

# With several workers NePS 0.17 fails as soon as all that a rung may promote is still training:
# it sorts an empty table (epsnet_selector in neps/optimizers/utils/brackets.py).
ALONE = frozenset({"neps-mo-asha"})
FEW = 10  # a population that comes to several generations within the budgets


class OptunaFront:
    """A study of Optuna with two objectives. A trial's loss is its lowest."""

    knows_budget = False

    def __init__(self, task: SizedTask, sampler: BaseSampler) -> None:
        self._task = task
        self._study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
        self._trials: list[optuna.Trial] = []
        self._lowest: list[float] = []

    def work(self) -> ReplayJob:
        """Ask for a trial."""
        trial = self._study.ask(dict(self._task.distributions))
        self._trials.append(trial)
        self._lowest.append(math.inf)
        return ReplayJob(trial.number, trial.params)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Tell the trial after its last epoch."""
        trial = self._trials[config]
        self._lowest[config] = min(self._lowest[config], loss)
        if epoch < self._task.epochs:
            return True
        self._study.tell(trial, [self._lowest[config], self._task.size(trial.params)])
        return False


def optuna_front(sampler: str, task: Task, seed: int, *_: int) -> Strategy:
    """A study with a sampler: random, tpe, nsga2, or nsga2-few with a population of FEW."""
    assert isinstance(task, SizedTask)
    samplers: dict[str, BaseSampler] = {
        "random": RandomSampler(seed=seed),
        "tpe": TPESampler(seed=seed),
        "nsga2": NSGAIISampler(seed=seed),
        "nsga2-few": NSGAIISampler(population_size=FEW, seed=seed),
    }
    return OptunaFront(task, samplers[sampler])


STRATEGIES: Mapping[str, Maker] = {
    "random": partial(optuna_front, "random"),
    "optuna-nsga2": partial(optuna_front, "nsga2"),
    "optuna-nsga2-population-10": partial(optuna_front, "nsga2-few"),
    "optuna-tpe": partial(optuna_front, "tpe"),
    "optuna-gp": Driven(
        Environment("optuna-gp"), DRIVERS / "optuna_gp_driver.py", {"objectives": "two"}
    ),
    "synetune-moasha": Driven(
        Environment("synetune"), DRIVERS / "synetune_driver.py", {"scheduler": "MOASHA"}
    ),
    "neps-mo-asha": Driven(
        Environment("neps"), DRIVERS / "neps_driver.py", {"algorithm": "mo-asha"}
    ),
}
