"""Replay: runs searches on recorded learning curves, in seconds.

A Task is a table of curves. A Strategy searches on it with simulated workers, for which every epoch
takes one unit of time. The configuration it would have delivered at each moment is compared with
the best one of the task.
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
from multiprocessing import get_context
from typing import Protocol

import numpy as np
import optuna

from search.processes import leave_with_parent
from search.replay.simulation import BUDGETS, Maker, Task, regrets
from search.scheduling.seeds import trial_seed
from search.spaces.unit_cube import Array


@dataclass(frozen=True)
class Run:
    """One replay.

    Attributes:
        strategy: Name of the strategy.
        task: Number of the task, from 0.
        seed: The strategy's seed derives from it and the task's name.
        workers: Number of simulated workers.
    """

    strategy: str
    task: int
    seed: int
    workers: int


@dataclass(frozen=True)
class Result:
    """The result of a strategy with a budget.

    Attributes:
        strategy: Its name.
        workers: Number of simulated workers.
        budget: Budget in full trainings.
        regret: Mean normalised regret over tasks and seeds, or mean of what else was measured.
        spread: Standard error of that mean.
    """

    strategy: str
    workers: int
    budget: int
    regret: float
    spread: float


class Measure(Protocol):
    """A function of a module, which measures a replay. The default is ``regrets``."""

    __name__: str

    def __call__(
        self, task: Task, make: Maker, *, seed: int, workers: int, budgets: Sequence[int]
    ) -> Array:
        """A figure for each budget, (budgets,)."""


def replays(
    tasks: Sequence[Callable[[], Task]],
    strategies: Mapping[str, Maker],
    runs: Sequence[Run],
    *,
    budgets: Sequence[int] = BUDGETS,
    processes: int = 1,
    measure: Measure = regrets,
) -> Iterator[tuple[Run, Array]]:
    """Replay in several processes; yield each run with its figures (budgets,) as it ends.

    Args:
        tasks: Factories of the tasks, called in each process.
        strategies: Strategies by name.
        runs: The runs to replay.
        budgets: Budgets in full trainings.
        processes: Number of processes.
        measure: What is measured of a replay.
    """
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _as_replayer)
    try:
        with _one_thread_each():  # the first submissions start the processes
            futures = {
                pool.submit(
                    _measured, measure, tasks[run.task], strategies[run.strategy], run, budgets
                ): run
                for run in runs
            }
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # unlike `with`, this does not wait for all of them


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
        tasks: Factories of the tasks, called in each process.
        strategies: Strategies by name.
        seeds: Number of seeds, from 0.
        workers: Number of simulated workers.
        budgets: In full trainings.
        processes: Number of processes.
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
    regrets_of = {}
    for run, regret in replays(tasks, strategies, runs, budgets=budgets, processes=processes):
        regrets_of[run] = regret
        done()
    return summary([(run, regrets_of[run]) for run in runs], budgets)


def summary(replayed: Iterable[tuple[Run, Array]], budgets: Sequence[int]) -> list[Result]:
    """A result for each strategy, number of workers and budget, from runs with their regrets."""
    groups: dict[tuple[str, int], list[Array]] = {}
    for run, regret in replayed:
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
    """Results as JSON, or as a table of regret ± spread: rows are strategies, columns budgets."""
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
    """A number with three decimals and no leading zero, so that five fit on a line."""
    text = f"{round(figure, 3) + 0.0:.3f}"  # no negative zero
    return text.replace("0.", ".", 1) if abs(figure) < 1 else text


_TASKS: dict[int, Task] = {}  # of this process: a task takes seconds to make


def _measured(
    measure: Measure,
    make_task: Callable[[], Task],
    make: Maker,
    run: Run,
    budgets: Sequence[int],
) -> Array:
    if run.task not in _TASKS:
        _TASKS[run.task] = make_task()
    task = _TASKS[run.task]
    # Not the same on every task, or the luck of one draw would count twelve times over.
    seed = trial_seed(run.seed, zlib.crc32(task.name.encode()))
    return measure(task, make, seed=seed, workers=run.workers, budgets=budgets)


def _as_replayer() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    leave_with_parent()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise it logs every new study


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit processes started within to one thread each: there is one per core already.

    The libraries read the environment when they load, before the process runs treino's code.
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
