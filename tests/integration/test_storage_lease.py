"""The lease between real processes; `test_storage_databases_lease` has the rest."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

import storage.lease
from storage.engine import open_storage
from storage.lease import LeaseHeld, StudyLease
from tests.support.children import child

ROOT = Path(storage.lease.__file__).parents[1]
HOLD = """
import sys
from storage.engine import open_storage
from storage.lease import StudyLease

with StudyLease(open_storage(sys.argv[1], write=True).engine, "cifar"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "treino.db"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease until its standard input ends."""
    with child([sys.executable, "-c", HOLD, path], "held", ROOT) as process:
        yield process
        process.kill()


@pytest.fixture
def opened(holder: subprocess.Popen[str], path: Path) -> Iterator[RDBStorage]:
    storage = open_storage(str(path), write=True)
    yield storage
    storage.engine.dispose()


def test_a_live_holder_keeps_it(holder: subprocess.Popen[str], opened: RDBStorage) -> None:
    for _ in range(2):
        with pytest.raises(
            LeaseHeld, match=f"the search of study 'cifar' runs in process {holder.pid} on "
        ):
            StudyLease(opened.engine, "cifar").acquire()
    holder.communicate()
    with StudyLease(opened.engine, "cifar"):
        pass


def test_a_killed_holder_loses_it_at_once(
    holder: subprocess.Popen[str], opened: RDBStorage
) -> None:
    holder.send_signal(signal.SIGKILL)
    # Ended, but not yet waited for: its id is still taken, by a zombie.
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with StudyLease(opened.engine, "cifar"):
        pass


def test_a_stopped_holder_keeps_it(holder: subprocess.Popen[str], opened: RDBStorage) -> None:
    holder.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
    with pytest.raises(LeaseHeld):
        StudyLease(opened.engine, "cifar").acquire()
    holder.send_signal(signal.SIGCONT)
    holder.communicate()


def test_after_a_kill_and_a_wait_it_is_free(
    holder: subprocess.Popen[str], opened: RDBStorage
) -> None:
    holder.kill()
    holder.wait()
    with StudyLease(opened.engine, "cifar"):
        pass


@pytest.mark.parametrize("proc", [["--mount-proc"], []], ids=["its own /proc", "our /proc"])
def test_a_holder_in_another_namespace_keeps_it(path: Path, proc: list[str]) -> None:
    # As two containers with the same host name: neither sees the other's processes.
    unshare = shutil.which("unshare")
    inside = [unshare or "", "--pid", "--fork", "--kill-child", *proc]
    if (
        not unshare
        or subprocess.run([*inside, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no namespace of process ids can be made here")
    with child([*inside, sys.executable, "-c", HOLD, path], "held", ROOT) as process:
        storage = open_storage(str(path), write=True)
        with pytest.raises(LeaseHeld, match=r"process 1 on .*, last renewed \d+ s ago"):
            StudyLease(storage.engine, "cifar").acquire()
        storage.engine.dispose()
        process.communicate()
        assert process.returncode == 0
