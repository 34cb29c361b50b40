"""Start processes that use TensorFlow without importing it again each time.

Importing TensorFlow takes seconds and hundreds of megabytes. On Linux, a server imports it once,
and all processes are forked from the server: they start at once and share its memory. TensorFlow
survives a fork as long as it has computed nothing, and the server never computes.
"""

import atexit
import io
import multiprocessing
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Apple's frameworks do not survive a fork. The server searches the working directory for modules
# first, where a folder named data most likely contains images; only Python 3.11 and later can
# prevent that.
_FORKS = sys.platform == "linux" and sys.version_info >= (3, 11)
_fork = multiprocessing.get_context("forkserver") if _FORKS else None
_spawn = multiprocessing.get_context("spawn")
_LONGEST_FOLDER = 60  # bytes; Python appends the names of a folder and a socket


def preload() -> None:
    """Start the import that processes will share. Returns at once."""
    if not _FORKS:
        return
    forkserver.set_forkserver_preload(["search.workers.preload"])
    # Without a folder for its socket the server cannot start, and each process imports by itself.
    with suppress(OSError), _outputs_closed(), _environment(), _no_signals():
        _have_short_temporary_folder()
        forkserver.ensure_running()


def start(target: Callable[..., None], *args: Any, name: str, afresh: bool = False) -> BaseProcess:
    """Start a process that ends with this one.

    Signals to the process group (Ctrl-C, SIGTERM, a closed terminal) do not reach the new process;
    this process handles them.

    Args:
        target: Function to run in the process.
        args: Arguments of the function.
        name: Name of the process.
        afresh: Whether the process imports everything itself. Required for processes that use a
            GPU, because CUDA state must not be shared.
    """
    _kill_at_exit()
    with _environment(), _no_signals():
        if _fork is not None and not afresh:
            process: BaseProcess = _fork.Process(target=target, args=args, name=name, daemon=True)
            try:
                process.start()
            except (EOFError, OSError):
                pass  # the server died; a process with its own log will show the cause
            else:
                return process
        process = _spawn.Process(target=target, args=args, name=name, daemon=True)
        process.start()
        return process


def print_to(log: Path, *, append: bool) -> None:
    """Redirect the output of this process, including that of libraries, to ``log``.

    If the log cannot be written, the output is lost, but training continues.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(
            log, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), 0o666
        )
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(file, output)
    if file > 2:
        os.close(file)
    sys.stdout, sys.stderr = (_Log.text(output) for output in (1, 2))


class _Log(io.FileIO):
    """A file that ignores write errors, such as those of a full disk."""

    @classmethod
    def text(cls, descriptor: int) -> io.TextIOWrapper:
        """A text stream to an open file. It can encode any text."""
        return io.TextIOWrapper(
            io.BufferedWriter(cls(descriptor, "wb", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )

    def write(self, data: "ReadableBuffer", /) -> int:
        length = memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError:
            return length


def leave_with_parent() -> None:
    """End this process as soon as its parent has ended, whatever it is doing."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # other threads may be deep inside TensorFlow


@cache
def _kill_at_exit() -> None:
    """Kill the remaining processes when this one exits, because they block SIGTERM."""
    atexit.register(_kill)


def _kill() -> None:
    for process in multiprocessing.active_children():
        process.kill()


def _have_short_temporary_folder() -> None:
    """Make the path of the server's socket fit into its 108 bytes (macOS: 104).

    Cluster schedulers give jobs a TMPDIR with a long name.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    before = tempfile.tempdir
    tempfile.tempdir = "/tmp"  # noqa: S108 - used for a private folder in it
    try:
        multiprocessing.util.get_temp_dir()  # creates the folder and remembers it
    finally:
        tempfile.tempdir = before


@contextmanager
def _no_signals() -> Iterator[None]:
    """Block signals for processes started here; this process receives its own afterwards."""
    _start_tracker()  # first, because starting it would unblock them
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _start_tracker() -> None:
    """Start Python's resource tracker, which cleans up after other processes.

    It must import Python's modules, not files with the same names in the working folder.
    """
    here = os.open(".", os.O_RDONLY)
    try:
        if sys.version_info < (3, 11):  # without PYTHONSAFEPATH
            os.chdir("/")
        with _outputs_closed(), _environment():
            multiprocessing.resource_tracker.ensure_running()
    finally:
        os.fchdir(here)
        os.close(here)


@contextmanager
def _outputs_closed() -> Iterator[None]:
    """Start the server without this process's outputs, so that it does not hold a pipe open."""
    null = os.open(os.devnull, os.O_RDWR)
    before = [os.dup(output) for output in (1, 2)]
    try:
        for output in (1, 2):
            os.dup2(null, output)
        yield
    finally:
        for output, kept in enumerate(before, 1):
            os.dup2(kept, output)
        for file in (null, *before):
            os.close(file)


@contextmanager
def _environment() -> Iterator[None]:
    """Set the variables that TensorFlow reads at import and Python reads at start."""
    ours = {
        "CUDA_VISIBLE_DEVICES": "",  # a process that uses a GPU sets it itself
        "PYTHONSAFEPATH": "1",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
