"""KerasTuner's Hyperband and BayesianOptimization, driven through their oracles without training.

This module replaces KerasTuner's tuner: it asks the oracle for a trial, trains it up to the epoch
that the trial names, and returns the best loss of those epochs. A trial that Hyperband promotes
names its predecessor and resumes from that checkpoint: here, the same configuration continues. Both
have KerasTuner's default parameters, except that Hyperband repeats its brackets until the budget is
spent.
"""

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.spaces.unit_cube import Params

LOSS = "val_loss"
INSTEAD_OF_0 = 2**31  # KerasTuner takes a seed of 0 for none, and draws one at random


@dataclass
class _Running:
    """A trial that a worker trains, with the name of its KerasTuner tuner."""

    trial: Any
    tuner: str
    until: int
    losses: list[float] = field(default_factory=list)


class Oracle:
    """An oracle of KerasTuner; each worker is a separate tuner, as in distributed tuning."""

    knows_budget = False

    def __init__(self, task: Task, oracle: Any) -> None:
        self._distributions = task.distributions
        self._epochs = task.epochs
        self._oracle = oracle
        # An oracle saves itself with every trial; its folder is deleted with it.
        folder = tempfile.mkdtemp(prefix="treino-replay-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        oracle._set_project_dir(folder, "oracle")  # noqa: SLF001 - done by KerasTuner's tuner
        oracle.verbose = 0
        self._tuners: list[str] = []  # idle tuners
        self._configs: dict[str, int] = {}  # by trial
        self._params: list[Params] = []
        self._running: dict[int, _Running] = {}

    def work(self) -> ReplayJob | None:
        """Create a trial, or resume a promoted trial's configuration."""
        tuner = self._tuners.pop() if self._tuners else f"tuner{len(self._running)}"
        trial = self._oracle.create_trial(tuner)
        if trial.status != "RUNNING":  # it waits for other trials, or has none left
            self._tuners.append(tuner)
            return None
        values = trial.hyperparameters.values
        earlier = values.get("tuner/trial_id")
        if earlier is None:
            config = len(self._params)
            self._params.append(
                {name: _value(d, values[name]) for name, d in self._distributions.items()}
            )
        else:
            config = self._configs[earlier]
        self._configs[trial.trial_id] = config
        until = values.get("tuner/epochs", self._epochs)
        self._running[config] = _Running(trial, tuner, until)
        return ReplayJob(config, self._params[config])

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """End the trial after its last epoch."""
        run = self._running[config]
        run.losses.append(math.inf if math.isnan(loss) else loss)
        if epoch < run.until:
            return True
        best = min(run.losses)
        step = epoch - len(run.losses) + run.losses.index(best)
        self._oracle.update_trial(run.trial.trial_id, {LOSS: best}, step=step)
        run.trial.status = "COMPLETED"
        self._oracle.end_trial(run.trial)
        self._tuners.append(run.tuner)
        del self._running[config]
        return False


def _hyperparameters(distributions: Mapping[str, BaseDistribution]) -> Any:
    import keras_tuner

    space = keras_tuner.HyperParameters()
    for name, d in distributions.items():
        if isinstance(d, CategoricalDistribution):
            space.Choice(name, list(d.choices))
            continue
        assert isinstance(d, IntDistribution | FloatDistribution)
        if d.log:
            add: Callable[..., Any] = partial(_add(space, d), sampling="log")
        else:
            add = partial(_add(space, d), step=d.step)
        add(name, d.low, d.high)
    return space


def _add(space: Any, distribution: BaseDistribution) -> Callable[..., Any]:
    function: Callable[..., Any] = (
        space.Int if isinstance(distribution, IntDistribution) else space.Float
    )
    return function


def _value(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[distribution.choices.index(value)]  # True comes back as 1
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    # BayesianOptimization exceeds an integer's logarithmic range by one.
    return min(value, distribution.high)


def _make(name: str, task: Task, seed: int, *_: int) -> Strategy:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it imports TensorFlow
    import keras_tuner

    common = {
        "objective": keras_tuner.Objective(LOSS, "min"),
        "hyperparameters": _hyperparameters(task.distributions),
        "seed": seed or INSTEAD_OF_0,
    }
    if name == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(
            max_epochs=task.epochs, hyperband_iterations=None, **common
        )
    else:
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=None, **common)
    return Oracle(task, oracle)


STRATEGIES: Mapping[str, Maker] = {
    "kerastuner-hyperband": partial(_make, "hyperband"),
    "kerastuner-bayesian": partial(_make, "bayesian"),
}
