"""Finds workers that hang: silent for many times the duration of their own epochs."""

from dataclasses import dataclass

from search.clock import LONGEST_TURN, Clock

TIMES = 20.0  # an epoch may take this many times the longest one before it
LEAST = 60.0  # seconds; short epochs vary more, and the first step builds the network


@dataclass
class _Heard:
    at: float
    suspended: float  # suspended seconds by then
    longest: float = 0.0  # seconds of the longest epoch of the job


class Watchdog:
    """Tracks the messages of each slot, and reports slots that are silent for too long.

    A job is not judged before its first epoch, because there is no duration to compare with.

    Attributes:
        clock: Clock to measure silence with.
    """

    def __init__(
        self, times: float = TIMES, least: float = LEAST, clock: Clock | None = None
    ) -> None:
        """Wait ``times`` the job's longest epoch, but at least ``least`` seconds."""
        self.clock = clock or Clock()
        self._times = times
        self._least = least
        self._heard: dict[int, _Heard] = {}

    def started(self, slot: int) -> None:
        """A job starts in the slot."""
        self._heard[slot] = _Heard(self.clock(), self.clock.suspended)

    def resumed(self, slot: int, longest: float) -> None:
        """The slot's job resumes; its longest epoch so far took that many seconds, 0 for none."""
        self._hear(slot, longest)

    def epoch_ended(self, slot: int, seconds: float) -> float:
        """The slot's worker reports an epoch of that many seconds.

        Returns:
            The seconds without those in which the worker and this process were suspended.
        """
        before = self._heard[slot].suspended
        self.clock()
        ran = max(seconds - (self.clock.suspended - before), min(seconds, LONGEST_TURN))
        self._hear(slot, ran)
        return ran

    def ended(self, slot: int) -> None:
        """The slot's job is over."""
        self._heard.pop(slot, None)

    def excuse(self) -> None:
        """Forget all silence until now: nobody listened. Call it again while that is so."""
        now = self.clock()
        for heard in self._heard.values():
            heard.at = now

    def hung(self) -> dict[int, str]:
        """The slots that are silent for too long, each with the reason.

        Each silence is reported once; from then on a slot is silent anew. Its job has not ended: a
        message may still arrive.
        """
        now = self.clock()
        reasons = {}
        for slot, heard in self._heard.items():
            silence = now - heard.at
            limit = max(self._least, self._times * heard.longest)
            if heard.longest and silence > limit:
                reasons[slot] = (
                    f"its worker hung: silent for {silence:.0f} s, while its longest epoch took "
                    f"{heard.longest:.1f} s"
                )
                heard.at = now
        return reasons

    def _hear(self, slot: int, longest: float) -> None:
        heard = self._heard[slot]
        heard.at, heard.suspended = self.clock(), self.clock.suspended
        heard.longest = max(heard.longest, longest)
