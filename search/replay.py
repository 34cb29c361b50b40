"""Replay: searches on learning curves that are known already, in seconds.

A Task is a table of curves; a Strategy searches on it with simulated workers, for whom every epoch
takes one unit of time; what it would have handed over at any moment is compared with what there is.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Protocol

import numpy as np
from optuna.distributions import BaseDistribution

from search.coordinates import Array, Params
from search.promotion import Chooser, Seen, rungs
from search.scheduler import make_chooser

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

    def curve(self, params: Params) -> Array:
        """Validation losses of a configuration after each epoch, (epochs,)."""


@dataclass(frozen=True)
class Work:
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
    """A way to search."""

    def work(self) -> Work | None:
        """Work for a free worker; None: nothing until another worker reports.

        A configuration that was begun before goes on after its last epoch.
        """

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Hear of an epoch, from 1; whether its worker goes on with the configuration.

        After the last epoch the worker is free whatever is returned.
        """


Maker = Callable[[Task, int, int, int], Strategy]
"""Makes a strategy from task, seed, workers and budget (epochs in all)."""


def simulate(
    task: Task, strategy: Strategy, workers: int, budget: int
) -> list[tuple[Params, float]]:
    """Search on a task until ``budget`` epochs are trained, or the strategy has nothing left.

    Returns:
        The epochs in order of time: the configuration trained, and its loss.
    """
    busy: list[Work | None] = [None] * workers
    trained: dict[int, int] = {}
    curves: dict[int, Array] = {}
    told: list[tuple[Params, float]] = []
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
                curves[work.config] = task.curve(work.params)
            epoch = trained[work.config] = trained.get(work.config, 0) + 1
            loss = float(curves[work.config][epoch - 1])
            told.append((work.params, loss))
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
    budget = max(budgets) * task.epochs
    told = simulate(task, make(task, seed, workers, budget), workers, budget)
    losses = np.array([loss if math.isfinite(loss) else math.inf for _, loss in told])
    found = []
    for full in budgets:
        params, _ = told[int(np.argmin(losses[: full * task.epochs]))]
        found.append((np.min(task.curve(params)) - task.best) / (task.middle - task.best))
    return np.array(found)


class Promoting:
    """treino's own way: the very chooser that the tuner asks."""

    def __init__(self, chooser: Chooser, epochs: int) -> None:
        """Ask ``chooser``, for trials of ``epochs`` epochs."""
        self._chooser = chooser
        self._rungs = rungs(epochs)
        self._seen: list[Seen] = []

    def work(self) -> Work | None:
        """What the chooser chooses."""
        choice = self._chooser.choose(self._seen, new=True)
        if choice is None:
            return None
        if choice.number is None:
            self._seen.append(Seen(len(self._seen), choice.params, (), "running"))
            return Work(len(self._seen) - 1, choice.params)
        self._seen[choice.number] = self._seen[choice.number].now("running")
        return Work(choice.number, choice.params)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Stop at rungs: to go on is then the chooser's to choose."""
        seen = self._seen[config].after(loss)
        if epoch in self._rungs:
            seen = seen.now("over" if epoch == self._rungs[-1] else "paused")
        self._seen[config] = seen
        return seen.state == "running"


def _promoting(sampler: str, task: Task, seed: int, _workers: int, _budget: int) -> Strategy:
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed)
    return Promoting(chooser, task.epochs)


STRATEGIES: Mapping[str, Maker] = {
    "default": partial(_promoting, "gp"),
    "promote-tpe": partial(_promoting, "tpe"),
    "promote-random": partial(_promoting, "random"),
}


@dataclass(frozen=True)
class Result:
    """What a strategy came to with a budget.

    Attributes:
        strategy: Its name.
        workers: Simulated workers.
        budget: Full trainings.
        regret: Mean normalised regret over tasks and seeds.
        spread: Standard error of that mean.
    """

    strategy: str
    workers: int
    budget: int
    regret: float
    spread: float


def compare(
    tasks: Sequence[Callable[[], Task]],
    strategies: Mapping[str, Maker],
    *,
    seeds: int,
    workers: int,
    budgets: Sequence[int] = BUDGETS,
    processes: int = 1,
    done: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Replay every strategy on every task with every seed.

    Args:
        tasks: Make the tasks; called in each process.
        strategies: By name.
        seeds: How many, from 0.
        workers: Simulated workers.
        budgets: In full trainings.
        processes: Processes that share the replays.
        done: Called after each replay of one strategy on one task with one seed.

    Returns:
        A result for each strategy and budget.
    """
    runs = list(itertools.product(strategies, range(len(tasks)), range(seeds)))
    work = partial(_regrets, strategies, tasks, workers, tuple(budgets))
    found: dict[str, list[Array]] = {name: [] for name in strategies}
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for (name, _, _), regret in zip(runs, pool.map(work, runs), strict=True):
            found[name].append(regret)
            done()
    return [
        Result(
            strategy=name,
            workers=workers,
            budget=budget,
            regret=float(np.mean(column)),
            spread=float(np.std(column) / math.sqrt(len(column))),
        )
        for name, rows in found.items()
        for budget, column in zip(budgets, np.transpose(rows), strict=True)
    ]


def printed(results: Sequence[Result], *, as_json: bool) -> str:
    """Results as JSON, or as a table: a row a strategy, a column a budget, regret ± spread."""
    if as_json:
        return json.dumps([asdict(result) for result in results], indent=2)
    budgets = list(dict.fromkeys(result.budget for result in results))
    names = list(dict.fromkeys(result.strategy for result in results))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{f'{budget}x':>14}" for budget in budgets)]
    for name in names:
        mine = [result for result in results if result.strategy == name]
        figures = (f"{r.regret:.3f} ± {r.spread:.3f}" for r in mine)
        lines.append(f"{name:<{width}}" + "".join(f"{figure:>14}" for figure in figures))
    return "\n".join(lines)


_TASKS: dict[int, Task] = {}  # of this process: a task takes seconds to make


def _regrets(
    strategies: Mapping[str, Maker],
    tasks: Sequence[Callable[[], Task]],
    workers: int,
    budgets: tuple[int, ...],
    run: tuple[str, int, int],
) -> Array:
    name, number, seed = run
    if number not in _TASKS:
        _TASKS[number] = tasks[number]()
    return regrets(_TASKS[number], strategies[name], seed=seed, workers=workers, budgets=budgets)
