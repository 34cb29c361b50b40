"""Seconds that this process ran: what a search measures time by."""

import time
from collections.abc import Callable

LONGEST_TURN = 10.0  # seconds between two readings of a clock that may be work; more is suspension


class Clock:
    """Seconds that this process ran, as far as it can tell. A loop reads it every turn.

    While the process is stopped (Ctrl-Z) or the machine sleeps, no reading is made. Between two
    readings ``LONGEST_TURN`` seconds count at the most; the rest was suspension. A worker that was
    suspended as well has lost no more than that of the time it is given.

    Attributes:
        suspended: Seconds that were not counted.

    Args:
        now: The clock to read: it never jumps back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.suspended = 0.0
        self._now = now
        self._read = now()
        self._ran = 0.0

    def __call__(self) -> float:
        """Seconds since the clock was made."""
        now = self._now()
        turn, self._read = now - self._read, now
        self._ran += min(turn, LONGEST_TURN)
        self.suspended += max(turn - LONGEST_TURN, 0.0)
        return self._ran
