"""Which workers hang: silent for many times as long as their own epochs take."""

from dataclasses import dataclass

TIMES = 20.0  # an epoch may take this many times as long as the longest before it
LEAST = 60.0  # seconds; short epochs vary more, and a first step builds the network


@dataclass
class _Heard:
    at: float
    longest: float = 0.0  # seconds of the longest epoch of the job


class Watchdog:
    """Told what is heard of each slot; says which have been silent for too long.

    A job is not judged before its first epoch: there is nothing yet to compare it with. Times
    are seconds of a clock that never jumps (``time.monotonic``).
    """

    def __init__(self, times: float = TIMES, least: float = LEAST) -> None:
        """Wait ``times`` the job's longest epoch, and ``least`` seconds in any case."""
        self._times = times
        self._least = least
        self._heard: dict[int, _Heard] = {}

    def started(self, slot: int, now: float) -> None:
        """A job begins in the slot."""
        self._heard[slot] = _Heard(now)

    def heard(self, slot: int, now: float, epoch_seconds: float = 0.0) -> None:
        """The slot has sent a message, perhaps of an epoch that took so long."""
        heard = self._heard[slot]
        heard.at = now
        heard.longest = max(heard.longest, epoch_seconds)

    def ended(self, slot: int) -> None:
        """The slot's job is over."""
        self._heard.pop(slot, None)

    def hung(self, now: float) -> dict[int, str]:
        """The slots that are silent for too long, each with the reason in words."""
        found = {}
        for slot, heard in self._heard.items():
            silence = now - heard.at
            limit = max(self._least, self._times * heard.longest)
            if heard.longest and silence > limit:
                found[slot] = (
                    f"its worker hung: silent for {silence:.0f} s, and its longest epoch took "
                    f"{heard.longest:.1f} s"
                )
        return found
