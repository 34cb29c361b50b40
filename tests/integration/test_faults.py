"""Faults, caused for real: each has one line, loses nothing, and the same command goes on.

Worker deaths, Ctrl-C and killed tuners are in test_cli_commands.py and
test_workers_local_backend.py, faults
of the database alone in test_storage_*.py, damaged checkpoints in test_models_training.py.
"""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from data.catalog import load
from models.spec import Block, Dense, ModelSpec, TrainingSpec
from search.protocol import Done, EpochDone, Failed, Job, Message, Verdict
from search.workers.backends.local import LocalBackend, Slot
from search.workers.watchdog import Watchdog
from tests.support.commands import SMALL, Place, finished_search, read_until, small_place
from tests.support.pictures import image_folder
from tests.support.workers import NETWORK, pid, watch

ARGUMENTS = (*SMALL, "--workers", "1", "--pruner", "none")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return small_place(tmp_path)


@pytest.fixture
def searched(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Place:
    """A finished search, for one test to damage."""
    return finished_search(tmp_path_factory).copy(tmp_path / "searched")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 300 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a failed test may still write


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    filler = disk / "filler"
    # Without a buffer: one that could not be written would be written again at the end.
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (2**16, 1):
            with suppress(OSError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)
    return filler


@pytest.mark.slow("two searches in a file system of their own")
def test_a_disk_that_fills_up_stops_the_search_and_loses_nothing(small_disk: Path) -> None:
    arguments = (*ARGUMENTS, "--trials", "1", "--epochs", "12", "--no-early-stopping")
    place = small_place(small_disk)
    process = place.start("search", "--data", "images", *arguments)
    read_until(process, "trial 0: epoch 2/12")
    while process.poll() is None:  # what the search itself gives back is filled, too
        filler = fill(small_disk)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    assert err.startswith("treino: ")
    assert err.count("\n") == 1, err
    told = ("No space left on device", "disk is full", "check the disk")
    assert any(words in err for words in told), err
    filler.unlink()
    (known,) = place.trials
    assert len(known.intermediate_values) >= 2
    out = place.search(*arguments)
    assert "trial 0: epoch 1/12" not in out
    assert [len(trial.intermediate_values) for trial in place.trials] == [12]
    assert known.intermediate_values.items() <= place.trials[0].intermediate_values.items()


@pytest.mark.slow("two searches, one in a process with a quota")
def test_a_checkpoint_too_large_for_the_quota_stops_the_search(place: Place) -> None:
    # Inherited by the tuner and its workers: the database fits, a checkpoint does not.
    arguments = (*ARGUMENTS, "--trials", "1", "--epochs", "2")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, limits[1]))
    try:
        process = place.start("search", "--data", "images", *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1, said
    assert said.count("\n") == 1, said
    assert "search stopped: cannot write " in said
    assert "checkpoint.npz: File too large" in said
    assert {trial.state for trial in place.trials} == {TrialState.RUNNING}
    assert "trial 0: complete" in place.search(*arguments)


@pytest.mark.slow("two searches of two trials")
def test_images_that_vanish_from_the_cache_are_decoded_again(place: Place) -> None:
    arguments = (*ARGUMENTS, "--trials", "2", "--epochs", "1")
    decoded = place.folder / "home/.cache/treino/decoded"
    err = place.search(
        *arguments, once="trial 0: epoch 1/1", then=lambda: shutil.rmtree(decoded), code=1
    )
    assert "search stopped: " in err
    assert "holds no decoded images any more" in err
    assert "trial 1: complete" in place.search(*arguments)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + bytes(200)])
def test_a_database_that_is_none_is_one_line(place: Place, content: bytes) -> None:
    database = place.folder / "var/treino.db"
    database.parent.mkdir()
    database.write_bytes(content)
    for command in ("search", "retrain-best", "leaderboard", "studies", "dashboard"):
        assert "var/treino.db" in place.run(command, code=1)
    assert database.read_bytes() == content


@pytest.mark.slow("retrains the best trial of a finished search")
def test_a_finished_study_is_still_good_when_its_files_are_gone(searched: Place) -> None:
    place = searched
    shutil.rmtree(place.folder / "var/images")
    shutil.rmtree(place.folder / "var/artifacts")
    assert "trial 0" in place.run("leaderboard")
    assert "test accuracy" in place.run("retrain-best", "--epochs", "1")
    shutil.rmtree(place.folder / "var")
    assert "make search" in place.run("retrain-best", code=1)


def test_limits_that_no_network_keeps_are_one_line(place: Place) -> None:
    for limit in ("--max-params", "--max-operations"):
        told = place.search(*ARGUMENTS, limit, "1000", code=2)
        assert f"{limit} 1000: the smallest network of this search " in told
    assert "nothing has been trained yet" in place.run("leaderboard", code=1)


@pytest.mark.slow("three retrainings of five epochs, one in a process that is killed")
def test_a_retrain_that_is_killed_goes_on_where_it_was(searched: Place) -> None:
    place = searched
    through = place.copy(place.folder.with_name("through"))
    process = place.start("retrain-best", "--epochs", "5")
    read_until(process, "epoch 3/5")
    process.kill()
    process.communicate(timeout=60)
    out = place.run("retrain-best", "--epochs", "5")
    assert out.count("epoch 5/5") == 1
    through.run("retrain-best", "--epochs", "5")

    def curve(place: Place) -> list[str]:
        lines = (place.folder / "var/images/best/history.csv").read_text().splitlines()
        return [line.rpartition(",")[0] for line in lines]  # the last column is the time it took

    assert len(curve(place)) == 6
    assert curve(place) == curve(through)


def small_job(folder: Path, run: str, network: ModelSpec = NETWORK, epochs: int = 50) -> Job:
    images = image_folder(folder / "images")
    data = load(str(images), image_size=8, cache=folder / "cache").dataset
    training = TrainingSpec(batch_size=4, epochs=epochs)
    return Job(run, network, training, data.path, seed=1, checkpoint=folder / run / "c.npz")


@pytest.mark.slow("waits until a worker has been silent for too long")
def test_a_worker_that_hangs_is_found_out_and_its_job_goes_on(tmp_path: Path) -> None:
    job = small_job(tmp_path, "hung", epochs=4)
    watchdog = Watchdog(times=3, least=2)
    with LocalBackend([Slot(threads=1)], tmp_path / "logs") as backend:
        backend.start(0, job)
        watchdog.started(0)
        end: Message | None = None
        while not isinstance(end, Failed | Done):
            for _, message in backend.wait(0.2):
                if isinstance(message, EpochDone):
                    watchdog.epoch_ended(0, message.figures.seconds)
                end = message
                if isinstance(message, EpochDone) and message.figures.epoch == 2:
                    os.kill(pid(backend), signal.SIGSTOP)
                if not isinstance(message, Failed | Done):
                    backend.answer(0, Verdict.GO_ON)
            for slot, reason in watchdog.hung().items():
                backend.kill(slot, reason)
        assert isinstance(end, Failed)
        assert "its worker hung: silent for " in end.reason
        backend.start(0, job)
        assert watch(backend)[-1] == Done()


@pytest.mark.slow("trains twice beside a network that runs out of memory")
def test_a_network_that_does_not_fit_in_memory_is_a_reason_not_an_end(tmp_path: Path) -> None:
    # Of one weight for 2 GB, so that no time is spent on others that do fit.
    huge = ModelSpec(
        blocks=(Block(filters=512, batch_norm=False),),
        dense=Dense(units=65536, batch_norm=False),
    )
    with LocalBackend([Slot(threads=1)], tmp_path / "logs") as backend:
        backend.start(0, small_job(tmp_path, "small", epochs=1))
        assert watch(backend)[-1] == Done()
        worker = psutil.Process(pid(backend))
        room = worker.memory_info().vms + 300 * 2**20
        worker.rlimit(psutil.RLIMIT_AS, (room, room))
        backend.start(0, small_job(tmp_path, "huge", huge))
        end = watch(backend)[-1]
        assert isinstance(end, Failed)
        assert end.kind in ("memory", "died")
        assert "memory" in end.reason or "SIGABRT" in end.reason
        backend.start(0, small_job(tmp_path, "small again", epochs=1))
        watch(backend)
