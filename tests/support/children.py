"""Processes of a test's own that say when they are ready."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def child(
    arguments: Sequence[str | Path], says: str, cwd: Path | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """A process that has said a line, and goes on until its standard input ends."""
    with subprocess.Popen(
        arguments, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{says}\n"
        yield process
