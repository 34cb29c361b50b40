"""Peers of treino's strategies that need no further package: random search, Optuna, a baseline.

Optuna's samplers and pruners are driven through ask, report, should_prune and tell. A trial is one
configuration, trained in full or until it is pruned. Pruned trials never resume. Samplers and
pruners have Optuna's defaults, except that pruners that need a minimum and a maximum number of
epochs get the first epoch and the task's last.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
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

from search.errors import SettingsError
from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.replay.strategies import STRATEGIES
from search.spaces.unit_cube import UnitCube


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


def optuna_study(sampler: str, pruner: str, task: Task, seed: int, *_: int) -> Strategy:
    """A study with a sampler (random, tpe) and a pruner (none, median, hyperband, halving)."""
    pruners: dict[str, BasePruner] = {
        "none": NopPruner(),
        "median": MedianPruner(),
        "hyperband": HyperbandPruner(min_resource=1, max_resource=task.epochs, reduction_factor=3),
        "halving": SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    }
    drawing = RandomSampler(seed=seed) if sampler == "random" else TPESampler(seed=seed)
    return OptunaStudy(task, seed, drawing, pruners[pruner])


class ThenBest:
    """Half the budget on short runs of random configurations, then the best of them in full.

    The best one resumes from its short run, then the second best, and so on. A strong baseline:
    Egele et al., Is One Epoch All You Need For Multi-Fidelity Hyperparameter
    Optimization?, 2023, arXiv 2307.15422.
    """

    knows_budget = True

    def __init__(self, task: Task, seed: int, budget: int, short: int) -> None:
        """Short runs of ``short`` epochs; ``budget`` epochs in total."""
        count = max(budget // 2 // short, 1)
        coordinates = UnitCube(task.distributions)
        points = coordinates.uniform(count, np.random.default_rng(seed))
        self._configs = [coordinates.params(point) for point in points]
        self._short = short
        self._begun = 0
        self._best: dict[int, float] = {}
        self._ranking: list[int] | None = None

    def work(self) -> ReplayJob | None:
        """The next short run; then the best configuration that has not resumed yet."""
        if self._begun < len(self._configs):
            self._begun += 1
            return ReplayJob(self._begun - 1, self._configs[self._begun - 1])
        if self._ranking is None:
            if len(self._best) < len(self._configs):
                return None
            self._ranking = sorted(self._best, key=lambda config: -self._best[config])
        if not self._ranking:
            return None
        config = self._ranking.pop()
        return ReplayJob(config, self._configs[config])

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """See Strategy."""
        if epoch == self._short:
            self._best[config] = loss
        return epoch != self._short


def then_best(short: int, task: Task, seed: int, _workers: int, budget: int) -> Strategy:
    """Short runs of ``short`` epochs, then the best of them in full."""
    return ThenBest(task, seed, budget, short)


PEERS: Mapping[str, Maker] = {
    "random": partial(optuna_study, "random", "none"),
    "optuna-tpe": partial(optuna_study, "tpe", "none"),
    "optuna-tpe-halving": partial(optuna_study, "tpe", "halving"),
    "three-epochs-then-best": partial(then_best, 3),
}
GROUPS: Mapping[str, Mapping[str, Maker]] = {
    "own": STRATEGIES,
    "peers": PEERS,
    "all": {**STRATEGIES, **PEERS},
}


def chosen(names: str, groups: Mapping[str, Mapping[str, Maker]] = GROUPS) -> dict[str, Maker]:
    """Strategies by their names or those of groups, separated by commas.

    Args:
        names: The names.
        groups: Strategies by group and name; the group ``all`` has all of them.

    Raises:
        SettingsError: A strategy does not exist.
    """
    makers: dict[str, Maker] = {}
    for name in names.split(","):
        if name not in groups and name not in groups["all"]:
            expected = ", ".join([*groups, *groups["all"]])
            raise SettingsError(f"--strategies {name!r}: expected one of {expected}")
        makers.update(groups.get(name) or {name: groups["all"][name]})
    return makers
