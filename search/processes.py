"""Processes that use TensorFlow, started without importing it again each time.

Importing TensorFlow takes seconds and hundreds of megabytes. On Linux a server does it once, and
every process is forked from it: a new one is there at once, and shares that memory. TensorFlow
survives a fork as long as it has computed nothing, and the server never does.
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

# Apple's frameworks do not survive a fork. And the server looks for modules in the working
# directory first, where a folder named data is most likely one of images; only from Python 3.11 on
# can it be told not to.
_FORKS = sys.platform == "linux" and sys.version_info >= (3, 11)
_fork = multiprocessing.get_context("forkserver") if _FORKS else None
_spawn = multiprocessing.get_context("spawn")
_LONGEST_FOLDER = 60  # bytes: a folder and a socket of Python's own are named below it


def preload() -> None:
    """Begin the import that processes will share; returns at once."""
    if not _FORKS:
        return
    forkserver.set_forkserver_preload(["search.workers.preload"])
    # Without a folder for its socket there is no server, and processes import for themselves.
    with suppress(OSError), _outputs_closed(), _environment(), _no_signals():
        _have_short_temporary_folder()
        forkserver.ensure_running()


def start(target: Callable[..., None], *args: Any, name: str, afresh: bool = False) -> BaseProcess:
    """Start a process that ends with this one.

    What signals to the group mean (Ctrl-C, SIGTERM, a terminal that closes), this process decides.
    They do not reach the one that is started.

    Args:
        target: What runs in it.
        args: Its arguments.
        name: Of the process.
        afresh: Whether it imports everything itself, as one that is to use a GPU does: nothing
            of CUDA is to be shared.
    """
    _kill_at_exit()
    with _environment(), _no_signals():
        if _fork is not None and not afresh:
            process: BaseProcess = _fork.Process(target=target, args=args, name=name, daemon=True)
            try:
                process.start()
            except (EOFError, OSError):
                pass  # the server died: what it died of shows in a process with a log of its own
            else:
                return process
        process = _spawn.Process(target=target, args=args, name=name, daemon=True)
        process.start()
        return process


def print_to(log: Path, *, append: bool) -> None:
    """Have what this process prints, and what libraries print in it, written to ``log``.

    A log is not worth a training: where it cannot be written, what is printed is lost.
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
    """A file that takes everything, and loses what the disk has no room for."""

    @classmethod
    def text(cls, descriptor: int) -> io.TextIOWrapper:
        """A stream of text to an open file; no text fails to be encoded."""
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
    """End this process, whatever it is doing, as soon as the one that started it has ended."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # other threads may be deep inside TensorFlow


@cache
def _kill_at_exit() -> None:
    """Kill what is left of the processes when this one exits: SIGTERM would not reach them."""
    atexit.register(_kill)


def _kill() -> None:
    for process in multiprocessing.active_children():
        process.kill()


def _have_short_temporary_folder() -> None:
    """See to it that the server's socket fits into the 108 (macOS: 104) bytes of its address.

    Schedulers of clusters give jobs a TMPDIR with a long name.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    before = tempfile.tempdir
    tempfile.tempdir = "/tmp"  # noqa: S108 - a folder of its own is made in it
    try:
        multiprocessing.util.get_temp_dir()  # makes it, and keeps to it
    finally:
        tempfile.tempdir = before


@contextmanager
def _no_signals() -> Iterator[None]:
    """Blocked signals stay blocked in the processes started here; ours come when this is over."""
    _start_tracker()  # it would unblock them when it starts
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _start_tracker() -> None:
    """Start Python's own process that clears away what others leave: a server, as ours is.

    It must find Python's modules, not files of those names in the working folder.
    """
    here = os.open(".", os.O_RDONLY)
    try:
        if sys.version_info < (3, 11):  # which knows no PYTHONSAFEPATH
            os.chdir("/")
        with _outputs_closed(), _environment():
            multiprocessing.resource_tracker.ensure_running()
    finally:
        os.fchdir(here)
        os.close(here)


@contextmanager
def _outputs_closed() -> Iterator[None]:
    """The server keeps the outputs it is given: no terminal to write to, no pipe to hold open."""
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
    """What TensorFlow reads when it is imported, and Python when it starts."""
    ours = {
        "CUDA_VISIBLE_DEVICES": "",  # a process that is to use a GPU sets it itself
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
