"""Standard output and error that may end before the work does.

A terminal is closed, the reader of a pipe leaves, a disk is full: writing fails then, in whatever
prints. Work goes on without being seen; what only prints has nothing left to do.
"""

import errno
import io
import os
import sys
from typing import IO, Any

_TERMINAL_GONE = {errno.EIO, errno.ENXIO}
_GONE = _TERMINAL_GONE | {errno.EPIPE}
BROKEN_PIPE = 141
"""Exit code of a program that a broken pipe ends, as the shell sees it."""


class OutputError(OSError):
    """Standard output cannot be written, though there is somebody to read it: a full disk."""


class _Output(io.FileIO):
    """A file whose failures to be written to do not always matter."""

    needed = True  # whether nothing but the output is wanted of this process

    def write(self, content: Any, /) -> int:
        """Write what the system takes at once, or let it go."""
        try:
            return super().write(content)
        except OSError as error:
            if self.needed and error.errno == errno.EPIPE:
                raise
            if self.needed and error.errno not in _TERMINAL_GONE:
                raise OutputError(error.errno, error.strerror) from error
            if error.errno in _GONE:
                _to_nowhere(self.fileno())
            return len(content)


def outlive_terminal() -> None:
    """Let standard output survive the loss of its terminal, and standard error any loss.

    Descriptors that are closed are opened: a database must not get their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)
    sys.stdout = _wrapped(1, sys.stdout)
    sys.stderr = _wrapped(2, sys.stderr)
    _dispensable(sys.stderr)


def outlive_readers() -> None:
    """Let nothing that becomes of standard output end this process any more."""
    _dispensable(sys.stdout)


def flushed(code: int) -> int:
    """The exit code of a command that ended with ``code``, once all it printed is written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(1)
        return BROKEN_PIPE
    return code


def drop() -> None:
    """Let go of what standard output could not take, so that the end does not try again."""
    _to_nowhere(1)


def _wrapped(number: int, stream: IO[str] | None) -> IO[str]:
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", None),
        errors=getattr(stream, "errors", None),
        line_buffering=number == 2 or getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def _dispensable(stream: IO[str]) -> None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.needed = False


def _to_nowhere(number: int) -> None:
    """Let a descriptor, and the processes that inherit it, write to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
