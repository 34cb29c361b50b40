"""Runs a search on recorded curves with simulated workers, and computes its regret."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from optuna.distributions import BaseDistribution

from search.spaces.unit_cube import Array, Params

BUDGETS = (3, 5, 10, 20, 40)  # full trainings


class Task(Protocol):
    """A table of learning curves.

    Attributes:
        name: Its name.
        images: The images of its curves; empty if they are of none.
        epochs: Length of a full training.
        distributions: The parameters with their ranges.
        best: The lowest loss of the best configuration: a regret of 0.
        middle: The lowest loss of a middling configuration: a regret of 1.
    """

    name: str
    images: str
    epochs: int
    distributions: Mapping[str, BaseDistribution]
    best: float
    middle: float

    def curves(self) -> Callable[[Params], Array]:
        """Curves for one search: a configuration's validation losses after each epoch, (epochs,).

        A table has a limited number of curves, so results may depend on earlier calls.
        """


@dataclass(frozen=True)
class ReplayJob:
    """The next job of a free worker.

    Attributes:
        config: The strategy's number of the configuration, from 0.
        params: The configuration.
        restart: Whether a configuration that trained before starts again from the first epoch;
            those epochs count again.
    """

    config: int
    params: Params
    restart: bool = False


class Strategy(Protocol):
    """A search strategy.

    Attributes:
        knows_budget: Whether its early decisions depend on its budget. Each budget is then a
            separate search.
    """

    @property
    def knows_budget(self) -> bool:
        """See above."""

    def work(self) -> ReplayJob | None:
        """The next job of a free worker; None to wait until another worker reports.

        A configuration that trained before resumes after its last epoch.
        """

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Take the result of an epoch, from 1; return whether its worker continues.

        After the last epoch the worker is free in any case.
        """


Maker = Callable[[Task, int, int, int], Strategy]
"""Makes a strategy from task, seed, workers and budget (total epochs)."""


class Epoch(NamedTuple):
    """One epoch of a search.

    Attributes:
        params: The configuration trained.
        loss: Its loss after the epoch.
        worth: The configuration's lowest loss if trained in full.
    """

    params: Params
    loss: float
    worth: float


def simulate(task: Task, strategy: Strategy, workers: int, budget: int) -> list[Epoch]:
    """Search on a task until ``budget`` epochs are trained, or the strategy has nothing left.

    Returns:
        The epochs in order of time.
    """
    busy: list[ReplayJob | None] = [None] * workers
    trained: dict[int, int] = {}
    curve_of = task.curves()
    curves: dict[int, Array] = {}
    told: list[Epoch] = []
    while len(told) < budget:
        for worker in range(workers):
            if busy[worker] is None:
                work = strategy.work()
                if work is not None and work.restart:
                    trained[work.config] = 0
                busy[worker] = work
        if not any(busy):
            break
        for worker, work in enumerate(busy):
            if work is None or len(told) >= budget:
                continue
            if work.config not in curves:
                curves[work.config] = curve_of(work.params)
            curve = curves[work.config]
            epoch = trained[work.config] = trained.get(work.config, 0) + 1
            loss = float(curve[epoch - 1])
            told.append(Epoch(work.params, loss, float(curve.min())))
            if not strategy.epoch(work.config, epoch, loss) or epoch >= task.epochs:
                busy[worker] = None
    return told


def regrets(task: Task, make: Maker, *, seed: int, workers: int, budgets: Sequence[int]) -> Array:
    """Normalised regret of the configuration that a strategy delivers at each budget, (budgets,).

    It delivers the configuration with the lowest observed loss at any epoch. The regret compares
    the lowest loss of its full curve: 0 is the task's best and 1 its middle.

    Args:
        task: The task.
        make: Makes the strategy.
        seed: Seed of the strategy.
        workers: Number of simulated workers.
        budgets: Budgets in full trainings.
    """
    limits = [budget * task.epochs for budget in budgets]
    strategy = make(task, seed, workers, max(limits))
    if strategy.knows_budget:
        searches = [
            simulate(task, make(task, seed, workers, limit), workers, limit) for limit in limits
        ]
    else:
        longest = simulate(task, strategy, workers, max(limits))
        searches = [longest[:limit] for limit in limits]
    normalised = []
    for told in searches:
        best = min(told, key=lambda epoch: epoch.loss if math.isfinite(epoch.loss) else math.inf)
        normalised.append((best.worth - task.best) / (task.middle - task.best))
    return np.array(normalised)
