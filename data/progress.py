"""Progress callbacks; the package prints nothing itself."""

from typing import Protocol


class Progress(Protocol):
    """Called repeatedly during long work."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` (bytes or images) of ``what`` are done."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
