"""Ax, driven through its client: every trial in full, or stopped early by its own rule.

With early stopping, each epoch's loss is attached to its trial, and Ax says whether the trial goes
on. All has the defaults of Ax.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start

LOSS = "loss"


class Search:
    """An experiment of Ax. A trial's value is its lowest loss."""

    def __init__(self, start: Start) -> None:
        logging.getLogger("ax").setLevel(logging.ERROR)  # it logs every trial
        self._epochs = start.epochs
        self._parameters = start.parameters()
        self._stops = "stops" in start.options
        self._client = Client(random_seed=start.seed % 2**32)
        self._client.configure_experiment([_domain(p) for p in self._parameters])
        self._client.configure_optimization(f"-{LOSS}")
        self._lowest: dict[int, float] = {}

    def work(self) -> Job | None:
        """Ask for a trial."""
        trials = self._client.get_next_trials(max_trials=1)
        if not trials:  # as many are running as Ax allows
            return None
        ((number, values),) = trials.items()
        self._lowest[number] = math.inf
        return number, {p.name: p.value(values[p.name]) for p in self._parameters}

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Complete the trial after its last epoch; with early stopping, ask after each one."""
        lowest = self._lowest[config] = min(self._lowest[config], loss)
        finite = math.isfinite(lowest)
        if epoch >= self._epochs:
            if finite:
                progression = epoch if self._stops else None
                self._client.complete_trial(config, {LOSS: lowest}, progression)
            else:
                self._client.mark_trial_failed(config)
            return False
        if not self._stops or not finite:
            return True
        self._client.attach_data(config, {LOSS: lowest}, progression=epoch)
        if not self._client.should_stop_trial_early(config):
            return True
        self._client.mark_trial_early_stopped(config)
        return False


def _domain(parameter: Parameter) -> RangeParameterConfig | ChoiceParameterConfig:
    if parameter.kind == "categorical":
        values = [str(index) for index in range(len(parameter.choices))]
        return ChoiceParameterConfig(parameter.name, values, "str", is_ordered=False)
    scaling = "log" if parameter.log else None
    bounds = (parameter.low, parameter.high)
    return RangeParameterConfig(parameter.name, bounds, parameter.kind, scaling=scaling)


def make(start: Start) -> Search:
    """See serve.py."""
    return Search(start)
