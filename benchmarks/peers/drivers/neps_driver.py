"""NePS: PriorBand without a prior, asynchronous Hyperband, MO-ASHA, Bayesian optimisation.

Driven through ``neps.AskAndTell``. A trial of PriorBand, Hyperband or MO-ASHA names its epochs, and
a promoted one the trial before: its configuration resumes there, as from a checkpoint. Bayesian
optimisation knows no epochs, so each of its trials trains in full. MO-ASHA, the multi-objective
successive halving, has two objectives. All have the defaults of NePS.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import neps
import numpy as np
import torch

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start

EPOCHS = "epochs of the trial"  # the fidelity's name, unlike any parameter's
MULTI_FIDELITY = {
    "priorband": neps.algorithms.priorband,
    "async-hyperband": neps.algorithms.async_hb,
    "mo-asha": neps.algorithms.moasha,
}


class Search:
    """A search of NePS. A trial's objective is its lowest loss."""

    def __init__(self, start: Start) -> None:
        # The algorithms draw from these global states and take no seed.
        random.seed(start.seed)
        np.random.seed(start.seed % 2**32)  # noqa: NPY002
        torch.manual_seed(start.seed)
        self._epochs = start.epochs
        self._parameters = start.parameters()
        space = {parameter.name: _domain(parameter) for parameter in self._parameters}
        algorithm = MULTI_FIDELITY.get(start.options["algorithm"])
        if algorithm is None:
            optimizer = neps.algorithms.bayesian_optimization(neps.SearchSpace(space))
        else:
            space[EPOCHS] = neps.HPOInteger(1, start.epochs, is_fidelity=True)
            optimizer = algorithm(neps.SearchSpace(space))
        self._search = neps.AskAndTell(optimizer)
        self._configs: dict[str, int] = {}  # by the part of a trial's name that a promotion keeps
        self._running: dict[int, Any] = {}
        self._lowest: dict[int, float] = {}

    def work(self) -> Job:
        """Ask for a trial."""
        trial = self._search.ask()
        number = trial.id.partition("_rung_")[0]
        config = self._configs.setdefault(number, len(self._configs))
        self._running[config] = trial
        return config, self._params(trial.config)

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        """Tell the trial after its last epoch."""
        self._lowest[config] = min(self._lowest.get(config, math.inf), loss)
        trial = self._running[config]
        if epoch < trial.config.get(EPOCHS, self._epochs):
            return True
        lowest = self._lowest[config]
        value = [lowest, *size] if size else lowest
        # A trial without a finite loss is one that failed.
        self._search.tell(trial, value if math.isfinite(lowest) else ArithmeticError("diverged"))
        return False

    def _params(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {p.name: p.value(config[p.name]) for p in self._parameters}


def _domain(parameter: Parameter) -> Any:
    if parameter.kind == "categorical":
        return neps.HPOCategorical([str(index) for index in range(len(parameter.choices))])
    kind = neps.HPOInteger if parameter.kind == "int" else neps.HPOFloat
    return kind(parameter.low, parameter.high, log=parameter.log)


def make(start: Start) -> Search:
    """See serve.py."""
    return Search(start)
