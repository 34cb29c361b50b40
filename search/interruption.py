"""Ctrl-C, SIGTERM and SIGHUP: once to save and leave, twice to leave at once."""

import os
import signal
import sys
from types import FrameType, TracebackType

from search.clock import Clock

GRACE = 30.0  # seconds that workers get to end their epoch; the epoch before is safe anyway


class Interruption:
    """Whether, and how urgently, the user wants the work to stop.

    As a context manager, in the main thread, it takes SIGINT, SIGTERM and SIGHUP over. It only
    notes them: the loop that does the work asks. A SIGHUP that the shell had ignored (nohup) stays
    ignored.
    """

    def __init__(self) -> None:
        self._clock = Clock()
        self._signals: list[int] = []
        self._since = 0.0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> bool:
        """Start nothing new; save and leave."""
        return bool(self._signals)

    @property
    def now(self) -> bool:
        """Wait for nothing any more: asked twice, or the grace is over. Asked each turn."""
        now = self._clock()
        return len(self._signals) > 1 or (self.asked and now - self._since > GRACE)

    @property
    def exit_code(self) -> int:
        """By convention 128 and the number of the signal; 0 if there was none."""
        return 128 + self._signals[0] if self._signals else 0

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
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
            self._since = self._clock()
        elif number == signal.SIGHUP:
            return  # the kernel and the shell both send it, and systemd after a SIGTERM
        self._signals.append(number)


class CtrlC:
    """Ends a command without a traceback, wherever Ctrl-C comes, before and after its work proper.

    As a context manager, in the main thread. What imports, clears away or catches everything may
    turn a KeyboardInterrupt into another error: whether it ``came`` is noted.
    """

    EXIT = 128 + signal.SIGINT

    def __init__(self) -> None:
        self.came = False
        self._before: object = None

    def __enter__(self) -> "CtrlC":
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._raise)
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._leave
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.unraisablehook = self._unraisable
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]  # what getsignal() gave us

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def _leave(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Where it was raised, nothing can be raised: it would be lost, and told of at length."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            os._exit(self.EXIT)
        self._unraisable(unraisable)
