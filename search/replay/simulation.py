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
        name: What people call it.
        epochs: Length of a full training.
        distributions: The parameters with their ranges.
        best: The lowest loss of the best configuration: a regret of 0.
        middle: The lowest loss of a middling configuration: a regret of 1.
    """

    name: str
    epochs: int
    distributions: Mapping[str, BaseDistribution]
    best: float
    middle: float

    def curves(self) -> Callable[[Params], Array]:
        """What one search meets: a configuration's validation losses after each epoch, (epochs,).

        A table has only so many curves, so what it answers may depend on what was asked before.
        """


@dataclass(frozen=True)
class ReplayJob:
    """What a free worker trains next.

    Attributes:
        config: Number of the configuration, counted by the strategy from 0.
        params: The configuration.
        restart: Whether it is trained from the first epoch again, if it was begun before: those
            epochs are paid for again.
    """

    config: int
    params: Params
    restart: bool = False


class Strategy(Protocol):
    """A way to search.

    Attributes:
        knows_budget: Whether what it does early depends on the budget it was made for. Each budget
            is then a search of its own.
    """

    @property
    def knows_budget(self) -> bool:
        """See above."""

    def work(self) -> ReplayJob | None:
        """Work for a free worker; None: nothing until another worker reports.

        A configuration that was begun before goes on after its last epoch.
        """

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Hear of an epoch, from 1; whether its worker goes on with the configuration.

        After the last epoch the worker is free whatever is returned.
        """


Maker = Callable[[Task, int, int, int], Strategy]
"""Makes a strategy from task, seed, workers and budget (total epochs)."""


class Epoch(NamedTuple):
    """One epoch of a search.

    Attributes:
        params: The configuration trained.
        loss: Its loss after the epoch.
        worth: The lowest loss that the configuration ever has, trained in full.
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
    """Normalised regret of what a strategy hands over at each budget, (budgets,).

    Handed over is the configuration with the lowest loss seen at any epoch; its worth is the
    lowest loss of its whole curve, 0 if it is the task's best and 1 if it is its middle.

    Args:
        task: The task.
        make: Makes the strategy.
        seed: Of the strategy.
        workers: Simulated workers.
        budgets: In full trainings.
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
    found = []
    for told in searches:
        best = min(told, key=lambda epoch: epoch.loss if math.isfinite(epoch.loss) else math.inf)
        found.append((best.worth - task.best) / (task.middle - task.best))
    return np.array(found)
