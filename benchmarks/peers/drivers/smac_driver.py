"""SMAC's multi-fidelity facade: Hyperband whose configurations a random forest proposes.

Driven through ``ask`` and ``tell``. A configuration that is asked for again with more epochs
resumes, as from a checkpoint. The facade has its defaults. Its number of trials, on which the size
of the initial design depends, is what the search's budget has room for.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from smac import MultiFidelityFacade, Scenario
from smac.runhistory import StatusType, TrialInfo, TrialValue

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start

ETA = 3  # the facade's default
FOLDER = tempfile.TemporaryDirectory(prefix="treino-smac-")  # removed when the process ends


class Search:
    """A search of SMAC. A trial's cost is the lowest loss of its configuration."""

    def __init__(self, start: Start) -> None:
        self._epochs = start.epochs
        self._parameters = start.parameters()
        space = ConfigurationSpace(seed=start.seed % 2**32)
        space.add(*map(_hyperparameter, self._parameters))
        scenario = Scenario(
            space,
            output_directory=Path(FOLDER.name),
            deterministic=True,
            n_trials=trials_within(start.budget, start.epochs),
            min_budget=1,
            max_budget=start.epochs,
            seed=start.seed % 2**31,
        )
        self._facade = MultiFidelityFacade(scenario, overwrite=True, logging_level=False)
        self._configs: dict[Configuration, int] = {}
        self._running: dict[int, TrialInfo] = {}
        self._lowest: dict[int, float] = {}
        self._worst = 0.0

    def work(self) -> Job | None:
        """Ask for a trial."""
        try:
            trial = self._facade.ask()
        except StopIteration:  # no configuration is left
            return None
        config = self._configs.setdefault(trial.config, len(self._configs))
        self._running[config] = trial
        return config, {p.name: p.value(trial.config[p.name]) for p in self._parameters}

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Tell the trial after its last epoch."""
        lowest = self._lowest[config] = min(self._lowest.get(config, math.inf), loss)
        if math.isfinite(loss):
            self._worst = max(self._worst, loss)
        trial = self._running[config]
        if epoch < min(round(trial.budget), self._epochs):  # its budgets are not whole
            return True
        if math.isfinite(lowest):
            value = TrialValue(cost=lowest)
        else:  # its model cannot take an infinite cost
            value = TrialValue(cost=self._worst, status=StatusType.CRASHED)
        self._facade.tell(trial, value, save=False)
        return False


def trials_within(budget: int, epochs: int) -> int:
    """Number of trials of Hyperband's brackets for a budget in epochs."""
    deepest = int(math.log(epochs, ETA) + 1e-9)
    trials, cost = 0, 0.0
    for bracket in range(deepest, -1, -1):
        count = math.ceil(ETA**bracket * (deepest + 1) / (bracket + 1))
        trained = 0.0
        for stage in range(bracket + 1):
            until = epochs / ETA ** (bracket - stage)
            trials += count // ETA**stage
            cost += count // ETA**stage * (until - trained)
            trained = until
    return max(1, round(budget * trials / cost))


def _hyperparameter(parameter: Parameter) -> Any:
    if parameter.kind == "categorical":
        return CategoricalHyperparameter(parameter.name, list(range(len(parameter.choices))))
    kind = UniformIntegerHyperparameter if parameter.kind == "int" else UniformFloatHyperparameter
    return kind(parameter.name, parameter.low, parameter.high, log=parameter.log)


def make(start: Start) -> Search:
    """See serve.py."""
    return Search(start)
