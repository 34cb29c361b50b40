"""Ctrl-C, SIGTERM and SIGHUP: once to save and exit, twice to exit immediately."""

import os
import signal
import sys
from types import FrameType, TracebackType

from search.clock import Clock

GRACE = 30.0  # seconds for workers to complete their epoch; earlier epochs are saved


class Interruption:
    """Whether, and how urgently, the user wants the work to stop.

    Use it as a context manager in the main thread. It handles SIGINT, SIGTERM and SIGHUP, but only
    records them; the main loop checks for them. An ignored SIGHUP (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self._clock = Clock()
        self._signals: list[int] = []
        self._since = 0.0
        self._before: dict[int, object] = {}

    @property
    def asked(self) -> bool:
        """Whether to stop: start nothing new, save and exit."""
        return bool(self._signals)

    @property
    def now(self) -> bool:
        """Whether to stop without waiting: after two signals or ``GRACE``. Read it each turn."""
        now = self._clock()
        return len(self._signals) > 1 or (self.asked and now - self._since > GRACE)

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, by convention; 0 if there was none."""
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
            signal.signal(number, handler)  # type: ignore[arg-type]  # as returned by signal()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._signals:
            self._since = self._clock()
        elif number == signal.SIGHUP:
            return  # both the kernel and the shell send it, and systemd sends it after SIGTERM
        self._signals.append(number)


class CtrlC:
    """Ends a command without a traceback at Ctrl-C, also during imports and clean-up.

    Use it as a context manager in the main thread. Imports, clean-up and broad handlers may turn a
    KeyboardInterrupt into another error, so ``came`` records whether there was one.
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
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]  # as returned by getsignal()

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt

    def _leave(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Exit on a KeyboardInterrupt that cannot be raised; Python would print and ignore it."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            os._exit(self.EXIT)
        self._unraisable(unraisable)
