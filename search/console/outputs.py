"""Standard output and error that survive a closed terminal, a broken pipe or a full disk.

In these cases every write fails. Commands that train continue without output; commands that only
print end.
"""

import errno
import io
import os
import sys
from typing import IO, Any

_TERMINAL_GONE = {errno.EIO, errno.ENXIO}
_GONE = _TERMINAL_GONE | {errno.EPIPE}
BROKEN_PIPE = 141
"""Exit code after a broken pipe, as seen by the shell."""


class OutputError(OSError):
    """Standard output has a reader but cannot be written, for example because of a full disk."""


class _Output(io.FileIO):
    """A file whose write errors are ignored when its output is not needed."""

    needed = True  # whether the output is the only purpose of this process

    def write(self, content: Any, /) -> int:
        """Write what the system accepts at once, or discard it if the output is gone."""
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
    """Make standard output survive the loss of its terminal, and standard error any loss.

    Closed descriptors are opened on the null device, so that a database cannot get their numbers.
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
    """Ignore all write errors of standard output from now on."""
    _dispensable(sys.stdout)


def flushed(code: int) -> int:
    """Flush standard output; return ``code``, or the code of a broken pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(1)
        return BROKEN_PIPE
    return code


def drop() -> None:
    """Discard what standard output could not write, so that Python's exit does not try again."""
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
    """Redirect a descriptor to the null device, also for processes that inherit it."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
