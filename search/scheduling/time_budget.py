"""The time limit of a search and the durations of its epochs, as part of the search state."""

import math
from dataclasses import dataclass


@dataclass
class TimeBudget:
    """Compares the time since the search began with its timeout.

    Attributes:
        timeout: Seconds; None for no limit.
        now: Seconds since the search began, without the time it was suspended.
        epochs: Epochs trained since then.
        epoch_seconds: Their total duration over all slots.
        begun: Whether a trial was started or refused.
    """

    timeout: float | None = None
    now: float = 0.0
    epochs: int = 0
    epoch_seconds: float = 0.0
    begun: bool = False
    _late: bool = False  # whether a trial paused because its next epoch would end too late

    def epoch_took(self, seconds: float) -> None:
        """Count an epoch."""
        self.epochs += 1
        self.epoch_seconds += seconds

    @property
    def left(self) -> float:
        """Seconds until the timeout."""
        return math.inf if self.timeout is None else self.timeout - self.now

    @property
    def an_epoch(self) -> float:
        """Mean seconds of an epoch; 0 if unknown."""
        return self.epoch_seconds / max(self.epochs, 1)

    @property
    def is_up(self) -> bool:
        """Whether nothing more starts or resumes.

        One trial always gets one epoch, so that even short runs make progress.
        """
        return self.begun and (self._late or self.left <= self.an_epoch)

    def lacks(self, seconds: float) -> bool:
        """Whether a running trial has no time for an epoch of that duration; remembered if so.

        The first epoch of a run always starts, so that many short runs make progress.
        """
        late = self.epochs > 0 and self.left <= seconds
        self._late = self._late or late
        return late

    def estimate(self, epochs: float, slots: int) -> float | None:
        """Estimated seconds of that many epochs on all slots; None if unknown or without any."""
        if not self.epochs or not slots:
            return None
        seconds = min(epochs * self.epoch_seconds / self.epochs / slots, self.left)
        return max(seconds, 0.0) if math.isfinite(seconds) else None

    def epochs_an_hour(self, slots: int) -> int:
        """Epochs per hour on all slots; 0 if unknown."""
        if not self.epochs:
            return 0
        return round(3600 * slots * self.epochs / self.epoch_seconds)
