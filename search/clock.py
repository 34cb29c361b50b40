"""A clock of the time that this process has run; searches measure time with it."""

import time
from collections.abc import Callable

LONGEST_TURN = 10.0  # maximum seconds of work between two readings; the rest is suspension


class Clock:
    """Estimated seconds that this process has run. A loop reads it every turn.

    The clock is not read while the process is stopped (Ctrl-Z) or the machine sleeps. At most
    ``LONGEST_TURN`` seconds count between two readings; the rest is suspension. A worker that was
    suspended too loses at most that much of its allowed time.

    Attributes:
        suspended: Seconds that were not counted.

    Args:
        now: A monotonic clock.
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
