"""Outages of the database during a search: it waits, loses nothing, and writes nothing twice."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from models.history import EpochFigures
from search.protocol import Job
from storage.engine import explained
from storage.errors import StorageError
from tests.support.databases import server_database
from tests.support.laboratory import Lab, Writes, bowl, told
from tests.support.servers import Server

pytest_plugins = ["tests.support.database_fixtures"]

LOCKED = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class At:
    """Does something once, when a trial's training is asked for."""

    def __init__(self, run: str, action: Callable[[], None]) -> None:
        self._run = run
        self._todo = [action]

    def __call__(self, job: Job) -> Sequence[EpochFigures]:
        if job.run == self._run and self._todo:
            self._todo.pop()()
        return bowl(job)


def undisturbed(lab: Lab, **options: object) -> tuple[object, object]:
    """What a search ends with that nothing disturbs, in a database of its own."""
    alone = Lab(lab.data, lab.var / "undisturbed", lab.space, lab.said)
    alone.search(bowl, pruner="promote", **options)  # type: ignore[arg-type]
    try:
        return told(alone.trials), alone.epochs
    finally:
        alone.close()


class Lock:
    """Another process that holds a file's lock."""

    def __init__(self, lab: Lab) -> None:
        self._file = lab.var / "treino.db"

    def take(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCKED, str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"locked\n"

    def release(self) -> None:
        self._process.communicate()


def test_a_search_outlasts_a_restart_of_the_server(lab: Lab, postgresql: Server) -> None:
    lab.url = server_database(postgresql.host, "restarted")
    starting = threading.Timer(2.0, postgresql.start)

    def stop() -> None:
        postgresql.stop()
        starting.start()

    try:
        outcome = lab.search(
            At("trial-00002", stop), workers=2, pruner="promote", sampler="random", patience=60
        )
    finally:
        starting.join()
    assert outcome.trouble == ""
    assert (told(lab.trials), lab.epochs) == undisturbed(lab, workers=2, sampler="random")


def test_a_search_outlasts_a_locked_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.outages.SAID_AFTER", 1.0)
    lock = Lock(lab)
    releasing = threading.Timer(3.0, lock.release)

    def take() -> None:
        lock.take()
        releasing.start()

    lab.search(At("trial-00002", take), workers=2, pruner="promote", sampler="random", patience=60)
    releasing.join()
    assert (told(lab.trials), lab.epochs) == undisturbed(lab, workers=2, sampler="random")
    (gone,) = [line for line in lab.said.lines if line.startswith("database unreachable for")]
    assert gone.endswith(" s, retrying; workers keep their epochs")
    (back,) = [line for line in lab.said.lines if line.startswith("database is back")]
    assert lab.said.lines.index(gone) < lab.said.lines.index(back)


def test_a_search_stops_when_its_patience_ends_and_goes_on_later(lab: Lab) -> None:
    lock = Lock(lab)
    with pytest.raises(StorageError, match="is held by another process"), explained(lab.url):
        lab.search(At("trial-00002", lock.take), pruner="promote", sampler="random", patience=0.5)
    lock.release()
    assert any(trial.state is TrialState.RUNNING for trial in lab.trials)
    lab.search(bowl, pruner="promote", sampler="random")
    assert (told(lab.trials), lab.epochs) == undisturbed(lab, sampler="random")


class LostAnswers(Writes):
    """Commits whose answers are lost, one in ``every``, once a training has begun."""

    every = 3
    begun = False

    def __call__(self, connection: Connection) -> None:
        self.done += self.begun
        if self.begun and self.done % self.every == 0:
            connection.exec_driver_sql("COMMIT")
            raise OperationalError("COMMIT", None, sqlite3.OperationalError("database is locked"))

    def begin(self) -> None:
        self.begun = True


@pytest.mark.parametrize("every", [3, 4])
def test_a_commit_whose_answer_was_lost_is_not_repeated(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr("storage.outages._PAUSE", 0.001)
    writes = LostAnswers()
    writes.every = every
    curve = At("trial-00000", writes.begin)
    lab.search(curve, workers=2, pruner="promote", sampler="random", patience=60, writes=writes)
    assert writes.done > 5 * every
    assert (told(lab.trials), lab.epochs) == undisturbed(lab, workers=2, sampler="random")
