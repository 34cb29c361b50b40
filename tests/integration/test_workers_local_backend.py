"""Worker processes for real: they train, they die, they are replaced, they leave with the tuner."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from data.dataset import Dataset
from models.spec import Block, ModelSpec
from search import processes
from search.protocol import (
    Done,
    Failed,
    Job,
    Message,
    Paused,
    Verdict,
)
from search.workers.backends import local
from search.workers.backends.local import LocalBackend, Slot
from tests.support.pictures import decoded
from tests.support.workers import job, pid, watch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return decoded(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.mark.slow("trains in two worker processes that are killed")
def test_a_worker_that_dies_is_noticed_at_once_with_the_signal(
    data: Dataset, logs: Path, tmp_path: Path
) -> None:
    with LocalBackend([Slot(threads=1)], logs) as backend:
        moment = 0.0
        for number in (signal.SIGKILL, signal.SIGSEGV):

            def strike(slot: int, message: Message, number: signal.Signals = number) -> None:
                nonlocal moment
                moment = time.monotonic()
                os.kill(pid(backend), number)

            backend.start(0, job(data, tmp_path, "struck"))
            end = watch(backend, answer=strike)[-1]
            assert time.monotonic() - moment < 1.0
            assert isinstance(end, Failed)
            assert end.kind == "died"
            assert number.name in end.reason


@pytest.mark.skipif(not processes._FORKS, reason="workers are not forked here")
@pytest.mark.slow("imports TensorFlow again, in another server")
def test_the_death_of_the_server_that_forks_workers_is_that_of_its_workers(
    data: Dataset, logs: Path, tmp_path: Path
) -> None:
    with LocalBackend([Slot(threads=1)], logs) as backend:

        def strike(slot: int, message: Message) -> None:
            worker = psutil.Process(pid(backend))
            server = worker.parent()
            assert server is not None
            assert server.parent() == psutil.Process()
            server.kill()

        backend.start(0, job(data, tmp_path, "orphan"))
        end = watch(backend, answer=strike)[-1]
        assert isinstance(end, Failed)
        assert end.kind == "died"
        backend.start(0, job(data, tmp_path, "orphan"))
        assert isinstance(watch(backend)[-1], Done)


def test_what_breaks_a_training_is_its_end_and_not_the_workers(
    data: Dataset, logs: Path, tmp_path: Path
) -> None:
    with LocalBackend([Slot(threads=1)], logs) as backend:

        def end_of(broken: Job) -> Message:
            backend.start(0, broken)
            return watch(backend)[-1]

        deep = ModelSpec(blocks=(Block(filters=4),) * 9)
        impossible = end_of(replace(job(data, tmp_path, "deep"), model=deep))
        worker = pid(backend)
        assert isinstance(impossible, Failed)
        assert impossible.kind == "error"
        assert "of 9 gets a 1x1 map, too small" in impossible.reason
        gone = end_of(replace(job(data, tmp_path, "gone"), data=tmp_path / "nowhere"))
        assert isinstance(gone, Failed)
        assert gone.kind == "environment"
        assert str(tmp_path / "nowhere") in gone.reason
        assert isinstance(end_of(job(data, tmp_path, "well", epochs=1)), Done)
        assert pid(backend) == worker


def test_a_handed_over_model_is_tested(data: Dataset, logs: Path, tmp_path: Path) -> None:
    with LocalBackend([Slot(threads=1)], logs) as backend:
        backend.start(0, replace(job(data, tmp_path, "over"), hand_over=tmp_path / "model.keras"))
        end = watch(backend)[-1]
    assert isinstance(end, Done)
    assert end.test is not None
    assert sum(map(sum, end.test.confusion)) == len(data.test.labels)
    right = sum(end.test.confusion[n][n] for n in range(3))
    assert end.test.accuracy == pytest.approx(right / len(data.test.labels))
    assert (tmp_path / "model.keras").stat().st_size > 0


@pytest.mark.slow("three trainings in two worker processes")
def test_a_worker_that_has_grown_is_replaced_and_a_log_that_has_gives_way(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "logs" / "worker-0.log"
    said.parent.mkdir()
    said.write_bytes(b"." * (local.MOST_LOG + 1))
    with LocalBackend([Slot(threads=1)], said.parent) as backend:
        pids: list[int] = []
        for growth in (100.0, 100.0, 0.5):
            monkeypatch.setattr(local, "GROWTH", growth)
            backend.start(0, job(data, tmp_path, f"{len(pids)}"))
            pids.append(pid(backend))
            assert watch(backend, answer=lambda *_: Verdict.PAUSE)[-1] == Paused()
    assert pids[0] == pids[1] != pids[2]
    assert said.with_name("worker-0.old.log").stat().st_size == local.MOST_LOG + 1
    assert said.stat().st_size < local.MOST_LOG


@pytest.mark.slow("starts a tuner that imports TensorFlow")
def test_workers_leave_when_their_tuner_is_killed(
    data: Dataset, logs: Path, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
from search.workers.backends.local import LocalBackend, Slot
from data.dataset import Dataset
from search.protocol import EpochDone, Verdict
from tests.support.workers import job, pid
backend = LocalBackend([Slot(threads=1)], Path(sys.argv[1]))
backend.start(0, job(Dataset.open(Path(sys.argv[2])), Path(sys.argv[3]), "orphan", epochs=10**5))
while True:
    for slot, message in backend.wait(1.0):
        backend.answer(slot, Verdict.GO_ON)
        if isinstance(message, EpochDone):
            print(pid(backend), flush=True)
"""
    tuner = subprocess.Popen(
        [sys.executable, "-c", code, str(logs), str(data.path), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tuner.stdout is not None
    worker = psutil.Process(int(tuner.stdout.readline()))
    tuner.kill()
    tuner.wait()
    tuner.stdout.close()
    worker.wait(timeout=5)  # raises if it is still there
