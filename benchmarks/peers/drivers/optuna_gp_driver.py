"""Optuna's GPSampler, every trial in full: it learns from completed trials only.

With two objectives, it maximises the expected improvement of the hypervolume.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import json_to_distribution

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Start


class Study:
    """A study of Optuna. A trial's value is its lowest loss."""

    def __init__(self, start: Start) -> None:
        self._study = optuna.create_study(
            directions=["minimize"] * (2 if start.options.get("objectives") == "two" else 1),
            sampler=optuna.samplers.GPSampler(seed=start.seed),
        )
        self._space = {
            name: json_to_distribution(json.dumps(each))
            for name, each in start.distributions.items()
        }
        self._epochs = start.epochs
        self._lowest: dict[int, float] = {}

    def work(self) -> Job:
        """Ask for a trial."""
        trial = self._study.ask(self._space)
        self._lowest[trial.number] = math.inf
        return trial.number, trial.params

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        """Tell the trial after its last epoch."""
        self._lowest[config] = min(self._lowest[config], loss)
        if epoch < self._epochs:
            return True
        self._study.tell(config, [self._lowest[config], *size])
        return False


def make(start: Start) -> Study:
    """See serve.py."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise it logs every trial
    return Study(start)
