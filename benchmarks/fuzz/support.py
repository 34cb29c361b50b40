"""What every kind of bad input shares: how it is made, tried and judged."""

import os
import string
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

word = st.text(string.ascii_letters + string.digits + "._-/\\ é\0\n", max_size=30)
# Any bytes but those that no file name, argument or variable can hold.
name = st.binary(min_size=1, max_size=40).map(
    lambda raw: raw.replace(b"\0", b"").replace(b"/", b"")
)
argument = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40).map(os.fsdecode),
    st.sampled_from(["-1", "[b]", ""]),
).map(lambda text: text.replace("\0", ""))
damage = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20)


def damaged(content: bytes, cut: float, changes: list[tuple[float, int]]) -> bytes:
    """Content cut short and with some bytes changed."""
    kept = bytearray(content[: int(len(content) * cut)])
    for where, byte in changes:
        if kept:
            kept[int(where * (len(kept) - 1))] = byte
    return bytes(kept)


def check_message(error: Exception) -> None:
    """Fail unless an error has a message of one line that can be printed."""
    text = str(error)
    assert text.strip(), f"{type(error).__name__} without a message"
    assert len(text.splitlines()) == 1, text
    assert " at 0x" not in text, text  # a memory address
    text.encode()  # no lone surrogates


def examples(count: int) -> Callable[[Any], Any]:
    """Try a test on so many examples, drawn anew each time."""
    return settings(
        max_examples=max(count, 1),
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
