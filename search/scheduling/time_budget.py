"""The time limit of a search and the durations of its epochs, as part of the search state."""

import math
from dataclasses import dataclass


@dataclass
class TimeBudget:
    """Seconds since the search began against its timeout.

    Attributes:
        timeout: Seconds; None for no limit.
        now: Seconds since the search began; those in which it was suspended do not count.
        epochs: Epochs trained since then.
        epoch_seconds: What they took, those of all slots together.
        begun: Whether a trial was given to a worker, or refused.
    """

    timeout: float | None = None
    now: float = 0.0
    epochs: int = 0
    epoch_seconds: float = 0.0
    begun: bool = False
    _late: bool = False  # a trial was paused because its next epoch would have ended too late

    def epoch_took(self, seconds: float) -> None:
        """Count an epoch."""
        self.epochs += 1
        self.epoch_seconds += seconds

    @property
    def left(self) -> float:
        """Seconds until the search is to pause."""
        return math.inf if self.timeout is None else self.timeout - self.now

    @property
    def an_epoch(self) -> float:
        """Seconds that an epoch takes; 0 while that is not known."""
        return self.epoch_seconds / max(self.epochs, 1)

    @property
    def is_up(self) -> bool:
        """Whether nothing is to be begun or resumed any more.

        However little time there is, one trial gets one epoch: short runs, too, get on.
        """
        return self.begun and (self._late or self.left <= self.an_epoch)

    def lacks(self, seconds: float) -> bool:
        """Whether a running trial has no time for an epoch of so many seconds; noted if so.

        The first epoch of a run is begun in any case, or one of many short runs might never get on.
        """
        late = self.epochs > 0 and self.left <= seconds
        self._late = self._late or late
        return late

    def estimate(self, epochs: float, slots: int) -> float | None:
        """Seconds that so many epochs take on all slots; None while that is not known."""
        if not self.epochs:
            return None
        seconds = min(epochs * self.epoch_seconds / self.epochs / slots, self.left)
        return max(seconds, 0.0) if math.isfinite(seconds) else None

    def epochs_an_hour(self, slots: int) -> int:
        """Epochs of all slots in an hour; 0 while that is not known."""
        if not self.epochs:
            return 0
        return round(3600 * slots * self.epochs / self.epoch_seconds)
