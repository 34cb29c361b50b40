"""Replay: searches on learning curves that are known already, in seconds.

A Task is a table of curves; a Strategy searches on it with simulated workers, for whom every epoch
takes one unit of time; what it would have handed over at any moment is compared with what there is.
"""

import json
import math
import os
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from search.processes import leave_with_parent
from search.scheduling.asha import Chooser, Seen, rungs
from search.scheduling.prior import prior_of
from search.scheduling.samplers import make_chooser, trial_seed
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
    """A way to search.

    Attributes:
        knows_budget: Whether what it does early depends on the budget it was made for. Each budget
            is then a search of its own.
    """

    @property
    def knows_budget(self) -> bool:
        """See above."""

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
    busy: list[Work | None] = [None] * workers
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


class Promoting:
    """treino's own way: the very chooser that the tuner asks."""

    knows_budget = False

    def __init__(self, chooser: Chooser, steps: Sequence[int]) -> None:
        """Ask ``chooser``, for trials that pause at ``steps``, the last epoch included."""
        self._chooser = chooser
        self._rungs = steps
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


def _promoting(
    sampler: str, prior: str, task: Task, seed: int, _workers: int, _budget: int
) -> Strategy:
    known = prior_of(prior, task.distributions)
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed, prior=known)
    return Promoting(chooser, rungs(task.epochs))


STRATEGIES: Mapping[str, Maker] = {
    "default": partial(_promoting, "gp", "auto"),
    "default-without-prior": partial(_promoting, "gp", "none"),
    "promote-tpe": partial(_promoting, "tpe", "none"),
    "promote-random": partial(_promoting, "random", "none"),
}


@dataclass(frozen=True)
class Run:
    """One replay.

    Attributes:
        strategy: Name of the strategy.
        task: Number of the task, from 0.
        seed: Makes, with the task's name, the seed of the strategy.
        workers: Simulated workers.
    """

    strategy: str
    task: int
    seed: int
    workers: int


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


def replays(
    tasks: Sequence[Callable[[], Task]],
    strategies: Mapping[str, Maker],
    runs: Sequence[Run],
    *,
    budgets: Sequence[int] = BUDGETS,
    processes: int = 1,
) -> Iterator[tuple[Run, Array]]:
    """Replay in several processes; each run with its regrets (budgets,), as they end.

    Args:
        tasks: Make the tasks; called in each process.
        strategies: By name.
        runs: What to replay.
        budgets: In full trainings.
        processes: Processes that share the replays.
    """
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _as_replayer)
    try:
        with _one_thread_each():  # the processes are started by the first submissions
            futures = {
                pool.submit(
                    _regrets, tasks[run.task], strategies[run.strategy], run, tuple(budgets)
                ): run
                for run in runs
            }
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # not by `with`, which would wait for all of them


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
    runs = [
        Run(name, task, seed, workers)
        for name in strategies
        for task in range(len(tasks))
        for seed in range(seeds)
    ]
    found = {}
    for run, regret in replays(tasks, strategies, runs, budgets=budgets, processes=processes):
        found[run] = regret
        done()
    return summary([(run, found[run]) for run in runs], budgets)


def summary(found: Iterable[tuple[Run, Array]], budgets: Sequence[int]) -> list[Result]:
    """A result for each strategy, number of workers and budget, from runs with their regrets."""
    groups: dict[tuple[str, int], list[Array]] = {}
    for run, regret in found:
        groups.setdefault((run.strategy, run.workers), []).append(regret)
    return [
        Result(
            strategy=name,
            workers=workers,
            budget=budget,
            regret=float(np.mean(column)),
            spread=float(np.std(column) / math.sqrt(len(column))),
        )
        for (name, workers), rows in groups.items()
        for budget, column in zip(budgets, np.transpose(rows), strict=True)
    ]


def printed(results: Sequence[Result], *, as_json: bool) -> str:
    """Results as JSON, or as a table: a row a strategy, a column a budget, regret ± spread."""
    if as_json:
        return json.dumps([asdict(result) for result in results], indent=2)
    budgets = list(dict.fromkeys(result.budget for result in results))
    names = list(dict.fromkeys(result.strategy for result in results))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{f'{budget}x':>11}" for budget in budgets)]
    for name in names:
        mine = [result for result in results if result.strategy == name]
        figures = (f"{brief(r.regret)}±{brief(r.spread)}" for r in mine)
        lines.append(f"{name:<{width}}" + "".join(f"{figure:>11}" for figure in figures))
    return "\n".join(lines)


def brief(figure: float) -> str:
    """A figure to three places, without the zero before the point: five of them fit a line."""
    text = f"{round(figure, 3) + 0.0:.3f}"  # no minus before a zero
    return text.replace("0.", ".", 1) if abs(figure) < 1 else text


_TASKS: dict[int, Task] = {}  # of this process: a task takes seconds to make


def _regrets(
    make_task: Callable[[], Task], make: Maker, run: Run, budgets: tuple[int, ...]
) -> Array:
    if run.task not in _TASKS:
        _TASKS[run.task] = make_task()
    task = _TASKS[run.task]
    # Not the same on every task, or the luck of one draw would count twelve times over.
    seed = trial_seed(run.seed, zlib.crc32(task.name.encode()))
    return regrets(task, make, seed=seed, workers=run.workers, budgets=budgets)


def _as_replayer() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    leave_with_parent()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it tells of every study made


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within compute with one thread: there is one for each core already.

    The libraries read the environment when they are loaded, so that it is too late for a limit once
    the process runs code of ours.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
