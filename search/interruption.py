"""Ctrl-C and SIGTERM: once to save and leave, twice to leave at once."""

import signal
import time
from types import FrameType, TracebackType

GRACE = 30.0  # seconds that workers get to end their epoch; the epoch before is safe anyway


class Interruption:
    """Whether, and how urgently, the user wants the work to stop.

    As a context manager, in the main thread, it takes SIGINT and SIGTERM over. It only notes
    them: the loop that does the work asks.
    """

    def __init__(self) -> None:
        self._signals: list[int] = []
        self._since = 0.0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> bool:
        """Start nothing new; save and leave."""
        return bool(self._signals)

    @property
    def now(self) -> bool:
        """Wait for nothing any more: asked twice, or the grace is over."""
        return len(self._signals) > 1 or (self.asked and time.monotonic() - self._since > GRACE)

    @property
    def exit_code(self) -> int:
        """By convention 128 and the number of the signal; 0 if there was none."""
        return 128 + self._signals[0] if self._signals else 0

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._signals:
            self._since = time.monotonic()
        self._signals.append(number)
