"""How the package tells that something takes long; it prints nothing itself."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then while something long is done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` (bytes or images) of ``what`` is done."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
