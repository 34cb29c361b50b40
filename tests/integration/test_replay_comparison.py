"""Replays: workers in simulated time, what is handed over, and what it is worth."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import threadpoolctl
from optuna.distributions import BaseDistribution, FloatDistribution

from benchmarks import other_tasks
from search.errors import SettingsError
from search.replay.comparison import Result, Run, compare, printed, replays
from search.replay.lcbench import LCBenchTask
from search.replay.peers import GROUPS, PEERS, chosen
from search.replay.simulation import ReplayJob, regrets, simulate
from search.replay.strategies import STRATEGIES
from search.spaces.unit_cube import Array, Params
from tests.support.searches import LCBENCH


class Lines:
    """A configuration x has losses x + 2, x + 1 and x: the best is 0, the middling one 1."""

    name = "lines"
    images = ""
    epochs = 3
    distributions: Mapping[str, BaseDistribution]
    best, middle = 0.0, 1.0

    def __init__(self) -> None:
        self.distributions = {"x": FloatDistribution(0.0, 2.0)}

    def curves(self) -> Callable[[Params], Array]:
        return lambda params: params["x"] + np.array([2.0, 1.0, 0.0])


class Given:
    """Trains the given configurations one after another, each up to an epoch."""

    knows_budget = False

    def __init__(self, *works: ReplayJob, until: int = 3) -> None:
        self._works = list(works)
        self._until = until

    def work(self) -> ReplayJob | None:
        return self._works.pop(0) if self._works else None

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        return epoch < self._until


def always(x: float, *_: object) -> Given:
    return Given(*(ReplayJob(n, {"x": x}) for n in range(20)))


def test_workers_train_side_by_side() -> None:
    strategy = Given(ReplayJob(0, {"x": 0.0}), ReplayJob(1, {"x": 1.0}), ReplayJob(2, {"x": 0.5}))
    told = simulate(Lines(), strategy, 2, 100)
    assert [epoch.loss for epoch in told] == [2.0, 3.0, 1.0, 2.0, 0.0, 1.0, 2.5, 1.5, 0.5]


def test_the_budget_ends_a_search() -> None:
    assert len(simulate(Lines(), always(0.0), 2, 5)) == 5


def test_a_configuration_goes_on_after_its_last_epoch_or_is_begun_again() -> None:
    x = {"x": 0.0}
    on = Given(ReplayJob(0, x), ReplayJob(0, x), until=1)
    assert [epoch.loss for epoch in simulate(Lines(), on, 1, 9)] == [2.0, 1.0]
    again = Given(ReplayJob(0, x), ReplayJob(0, x, restart=True), until=1)
    assert [epoch.loss for epoch in simulate(Lines(), again, 1, 9)] == [2.0, 2.0]


@pytest.mark.parametrize("x", [0.0, 1.0, 1.5])
def test_regret_is_0_for_the_best_and_1_for_the_middle(x: float) -> None:
    found = regrets(Lines(), partial(always, x), seed=0, workers=2, budgets=(1, 2))
    assert found.tolist() == [x, x]


def test_handed_over_is_the_lowest_loss_so_far_whatever_its_curve_becomes() -> None:
    def make(*_: object) -> Given:
        return Given(ReplayJob(0, {"x": 1.2}), ReplayJob(1, {"x": 0.1}))

    # After three epochs 1.2 was seen of the first, and nothing of the second.
    assert regrets(Lines(), make, seed=0, workers=1, budgets=(1, 2)).tolist() == [1.2, 0.1]


def test_who_knows_the_budget_searches_anew_for_each() -> None:
    budgets = []

    class Knowing(Given):
        knows_budget = True

    def make(_task: object, _seed: int, _workers: int, budget: int) -> Knowing:
        budgets.append(budget)
        return Knowing(*(ReplayJob(n, {"x": 1 / budget}) for n in range(9)))

    found = regrets(Lines(), make, seed=0, workers=1, budgets=(1, 2))
    assert found.tolist() == [1 / 3, 1 / 6]
    assert set(budgets) == {3, 6}


class OneThread(Lines):
    """Refuses to be made in a process that computes with more than one thread."""

    def __init__(self) -> None:
        super().__init__()
        for pool in threadpoolctl.threadpool_info():
            assert pool["num_threads"] == 1, pool


def test_comparing_runs_processes_of_one_thread_and_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    done = []
    results = compare(
        [Lines, OneThread],
        {"best": partial(always, 0.0), "worse": partial(always, 0.5)},
        seeds=2,
        workers=2,
        budgets=(1, 2),
        processes=2,
        done=lambda: done.append(1),
    )
    assert dict(os.environ) == before
    assert len(done) == 8
    assert results == [
        Result(name, 2, budget, regret, 0.0)
        for name, regret in (("best", 0.0), ("worse", 0.5))
        for budget in (1, 2)
    ]


class Broken(Lines):
    """A task that cannot be made."""

    def __init__(self) -> None:
        raise ZeroDivisionError("broken")


def test_a_replay_that_fails_ends_the_others() -> None:
    runs = [Run("best", task, seed, 1) for seed in range(50) for task in (0, 1)]
    with pytest.raises(ZeroDivisionError, match="broken"):
        list(replays([Broken, Lines], {"best": partial(always, 0.0)}, runs, budgets=(1,)))


SLEEPERS = """
import os, time
from search.replay.comparison import Run, replays

def task():
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    runs = [Run("any", 0, seed, 1) for seed in range(9)]
    list(replays([task], {"any": print}, runs, processes=2))
"""


def test_processes_leave_when_the_first_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SLEEPERS)
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        replayers = [psutil.Process(int(first.stdout.readline())) for _ in range(2)]
        first.kill()
    _, left = psutil.wait_procs(replayers, timeout=20)
    assert not left


def test_the_table_keeps_figures_apart_on_eighty_columns() -> None:
    names = (max(PEERS, key=len), "default")
    regret = {names[0]: -0.0268, "default": 1.0}
    results = [
        Result(name, 4, b, regret[name], 0.052) for name in names for b in (3, 5, 10, 20, 40)
    ]
    lines = printed(results, as_json=False).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["3x", "5x", "10x", "20x", "40x"]
    assert lines[1].split() == [names[0], *["-.027±.052"] * 5]
    assert lines[2].split() == ["default", *["1.000±.052"] * 5]
    rows = json.loads(printed(results, as_json=True))
    assert rows[0] == {
        "strategy": names[0],
        "workers": 4,
        "budget": 3,
        "regret": -0.0268,
        "spread": 0.052,
    }


def test_names_and_groups() -> None:
    assert list(chosen("random,default")) == ["random", "default"]
    assert list(chosen("own,three-epochs-then-best")) == [*STRATEGIES, "three-epochs-then-best"]
    assert chosen("all").keys() == {*STRATEGIES, *PEERS} == GROUPS["all"].keys()
    with pytest.raises(SettingsError, match=r"'tpe'.*optuna-tpe"):
        chosen("random,tpe")


@pytest.mark.skipif(LCBENCH is None, reason="no LCBench beside the checkout")
def test_a_task_learns_from_the_others_alone() -> None:
    assert LCBENCH is not None
    names = ("3945", "7593", "34539")
    task = LCBenchTask(LCBENCH, "7593")
    others = other_tasks.of_other_tasks(LCBENCH, names, task)
    assert [curves.data for curves in others] == ["LCBench 3945", "LCBench 34539"]
    first, second = ([each.params for each in curves.configurations] for curves in others)
    assert first == second  # a method that compares tasks needs the same ones
    informed = partial(other_tasks.informed, LCBENCH, names)
    jobs = [make(task, 0, 1, 60).work() for make in (informed, STRATEGIES["default-without-prior"])]
    assert jobs[0] != jobs[1]  # a favourite of the others, and a random one


@pytest.mark.skipif(LCBENCH is None, reason="no LCBench beside the checkout")
def test_lcbench_is_a_task() -> None:
    assert LCBENCH is not None
    task = LCBenchTask(LCBENCH, "3945")
    assert task.best < task.middle
    full, short = (PEERS[name] for name in ("random", "three-epochs-then-best"))
    chance = regrets(task, full, seed=0, workers=4, budgets=(1, 10))
    found = regrets(task, short, seed=0, workers=4, budgets=(1, 10))
    assert found[1] < chance[1] <= chance[0]
    assert set(STRATEGIES) & set(PEERS) == set()
