"""Temporary folders owned by one process, removed if the process dies."""

import functools
import hashlib
import os
import re
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_FORMER_NAME = re.compile(r"\.[0-9a-f]{32}.*")
_NAME = re.compile(r"\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}")
# Folders of another container or host are left alone for this long.
FOREIGN_SECONDS = 24 * 3600


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, removed when the block ends, however it ends.

    SIGTERM and SIGHUP raise SystemExit inside the block, instead of ending the process at once.
    `sweep` removes the folders of killed processes.

    Raises:
        OSError: The folder cannot be created.
    """
    folder = parent / own_name()
    with _signals_raise():
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def own_name() -> str:
    """A new hidden name that identifies its process."""
    pid = os.getpid()
    return f".{_machine()}-{pid}-{_started(pid) or 0}-{uuid.uuid4().hex[:8]}"


def sweep(parent: Path) -> None:
    """Remove what dead processes left in ``parent``.

    No lock is needed (not every file system has one), because the names identify the owner.
    """
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            with suppress(OSError):  # another user's, or removed by another sweep
                if not _left(entry):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def _left(entry: "os.DirEntry[str]") -> bool:
    owner = _NAME.fullmatch(entry.name)
    if not (owner or _FORMER_NAME.fullmatch(entry.name)):
        return False
    if owner and owner["machine"] == _machine():
        return not _alive(int(owner["pid"]), int(owner["started"]))
    newest = entry.stat(follow_symlinks=False).st_mtime
    if entry.is_dir(follow_symlinks=False):
        with os.scandir(entry.path) as inside:
            newest = max([newest, *(file.stat(follow_symlinks=False).st_mtime for file in inside)])
    return time.time() - newest > FOREIGN_SECONDS


def _alive(pid: int, started: int) -> bool:
    """Whether a process is still the one that started then."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it exists and belongs to another user
        return True
    now = _started(pid)
    return now is None or now == started


def _started(pid: int) -> int | None:
    """When a process started, in a unit of this machine; 0 if it has ended, None if unknown."""
    try:
        # Counted from the boot: it does not shift when the clock is set.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, ValueError, IndexError):
        pass
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


@functools.cache
def _machine() -> str:
    """Identifier of the namespace of process ids: this boot of this host, or this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, but its number
    except OSError:
        import psutil

        boot, space = str(int(psutil.boot_time())), socket.gethostname()
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:8]


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise SystemExit for signals that would end the process at once."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
