"""A strategy that another process serves: its searches, and how its faults are told."""

import gc
import json
import math
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from optuna.distributions import distribution_to_json

from benchmarks.peers import bridge
from benchmarks.peers.bridge import Bridge, Driven, Environment
from benchmarks.peers.drivers.serve import Parameter, Start
from search.errors import TreinoError
from search.replay.simulation import Task, simulate
from search.scheduling.curves import Curve, Curves
from tests.support.searches import (
    EPOCHS,
    FallingCurves,
    SizedCurves,
    WatchedStrategy,
    searched,
)

DRIVER = Path(__file__).parents[1] / "support" / "random_driver.py"


@pytest.fixture(autouse=True)
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that has nothing but the standard library."""
    monkeypatch.setattr(bridge, "ENVIRONMENTS", tmp_path)
    interpreter = tmp_path / "venv-random" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(sys.executable)
    return tmp_path


def made(**options: str) -> Driven:
    return Driven(Environment("random"), DRIVER, options)


def started(**options: str) -> Bridge:
    strategy = made(**options)(FallingCurves(), 0, 1, 60)
    assert isinstance(strategy, Bridge)
    return strategy


def test_a_driver_searches_in_a_process_of_its_own() -> None:
    epochs = searched(made(), seed=1, workers=3)
    assert searched(made(), seed=1, workers=3) == epochs
    assert searched(made(), seed=2, workers=3) != epochs


def of_others(count: int, task: Task) -> list[Curves]:
    return [recorded(f"task {n}", task, (0.003, 0.02 * (n + 1))) for n in range(count)]


def recorded(name: str, task: Task, rates: tuple[float, ...]) -> Curves:
    """Curves whose last configuration is the best."""
    configurations = [
        Curve(
            trial=number,
            params={"rate": rate, "size": 64, "layers": 3, "norm": True},
            val_loss=(2.0, 1.0 - number / 10),
            val_accuracy=(0.5, 0.5),
        )
        for number, rate in enumerate(rates)
    ]
    ranges = {n: json.loads(distribution_to_json(d)) for n, d in task.distributions.items()}
    return Curves(
        data=name,
        space="of the test",
        epochs=task.epochs,
        seed=0,
        versions={},
        distributions=ranges,
        configurations=tuple(configurations),
    )


def test_a_driver_learns_from_curves_of_other_tasks() -> None:
    informed = replace(made(), sources=partial(of_others, 2))
    epochs = searched(informed, seed=1, workers=1)
    rates = list(dict.fromkeys(epoch.params["rate"] for epoch in epochs))
    assert rates[:2] == [0.02, 0.04]


def test_a_paused_configuration_resumes() -> None:
    strategy = started()
    jobs = [strategy.work() for _ in range(2)]
    assert [job and job.config for job in jobs] == [0, 1]
    assert [strategy.epoch(0, epoch, 1.0) for epoch in (1, 2, 3)] == [True, True, False]
    assert not strategy.epoch(1, EPOCHS // 3, math.inf)
    assert strategy.work() == jobs[0]


def test_a_driver_is_told_sizes_where_the_task_has_them() -> None:
    strategy = WatchedStrategy(made(), 0, 1, 60, SizedCurves)
    epochs = simulate(strategy.task, strategy, 1, 60)
    task = SizedCurves()
    large = [task.size(epoch.params) > 0.5 for epoch in epochs]
    assert {True, False} <= set(large)
    params = [tuple(epoch.params.items()) for epoch in epochs]
    for one, is_large in zip(params, large, strict=True):
        assert (params.count(one) == 1) is is_large


def test_a_driver_may_wait() -> None:
    assert started(fault="wait").work() is None


def test_a_driver_leaves_with_its_strategy() -> None:
    strategy = started()
    strategy.work()
    assert strategy._process is not None
    driver = psutil.Process(strategy._process.pid)
    del strategy
    gc.collect()
    assert not driver.is_running()


def test_a_driver_that_fails_is_told_with_its_last_line_of_error() -> None:
    with pytest.raises(
        TreinoError, match=r"random_driver.py: the driver ended with exit code 1: MemoryError: no"
    ) as told:
        started(fault="raise").work()
    assert len(str(told.value).splitlines()) == 1
    with pytest.raises(TreinoError, match="ended with exit code 3: a package may print"):
        started(fault="leave").work()


def test_a_driver_that_cannot_start_is_told(environments: Path) -> None:
    driven = Driven(Environment("random"), environments / "absent_driver.py")
    strategy = driven(FallingCurves(), 0, 1, 60)
    with pytest.raises(TreinoError, match="ModuleNotFoundError: No module named 'absent_driver'"):
        strategy.work()
    absent = Driven(Environment("absent"), DRIVER)(FallingCurves(), 0, 1, 60)
    with pytest.raises(TreinoError, match=r"venv-absent/bin/python: No such file"):
        absent.work()


def test_an_invalid_answer_is_told() -> None:
    expected = "random_driver.py: expected a job or null, got {'config': 0, 'params': {'x': 1}}"
    with pytest.raises(TreinoError, match=re.escape(expected)):
        started(fault="other parameters").work()
    strategy = started(fault="words")
    strategy.work()
    with pytest.raises(TreinoError, match="expected true or false, got 'continue'"):
        strategy.epoch(0, 1, 0.5)


def test_a_line_that_is_no_json_is_told() -> None:
    strategy = Bridge([sys.executable, "-c", "input(); print('ready')"], {"distributions": {}})
    with pytest.raises(TreinoError, match="expected a line of JSON, got 'ready'"):
        strategy.work()


def test_a_peers_code_is_its_driver_its_options_and_its_releases(environments: Path) -> None:
    def code(release: str, **options: str) -> str:
        site = environments / "venv-smac" / "lib" / "python3.11" / "site-packages"
        info = site / "smac.dist-info" / "METADATA"
        info.parent.mkdir(parents=True, exist_ok=True)
        info.write_text(f"Metadata-Version: 2.1\nName: smac\nVersion: {release}\n")
        driven = Driven(Environment("smac"), DRIVER, options)
        assert driven.release() == ("smac", release)
        return driven.code()

    codes = [code("2.4.1"), code("2.4.2"), code("2.4.1", fault="wait")]
    assert len(set(codes)) == 3
    assert code("2.4.1") == codes[0]
    assert "no room for the model" in codes[0]
    with pytest.raises(TreinoError, match="venv-neps has no neural-pipeline-search: make"):
        Driven(Environment("neps"), DRIVER).code()


def test_drivers_search_steps_and_choices_by_position() -> None:
    task = FallingCurves()
    assert task.distributions.keys() == {"rate", "size", "layers", "norm"}
    attributes = {"low": 0.1, "high": 0.5, "step": 0.2, "log": False}
    given = {"dropout": {"name": "FloatDistribution", "attributes": attributes}}
    (stepped,) = Start(9, given, 0, 1, 60, {}).parameters()
    assert (stepped.kind, stepped.low, stepped.high) == ("int", 0, 2)
    assert [stepped.value(position) for position in (0, 2)] == pytest.approx([0.1, 0.5])
    choice = Parameter("norm", "categorical", choices=(True, False))
    assert choice.value("1") is False
