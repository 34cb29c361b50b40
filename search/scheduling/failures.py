"""Counts failures across trials, as part of the search state."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

HOPELESS = 5  # trials in a row that fail before their first epoch


class Failures(Generic[Key]):
    """Counts worker deaths, and trials that fail before their first epoch.

    Args:
        deaths: By the number or name of a training, an epoch and how often a worker died after it.
    """

    def __init__(self, deaths: Mapping[Key, tuple[int, int]]) -> None:
        self._deaths = dict(deaths)
        self._at_once = 0

    def gets_on(self) -> None:
        """Reset the count: a trial finished an epoch, or failed because of its configuration."""
        self._at_once = 0

    def at_once(self, *, counts: bool) -> int:
        """Count a failure before the first epoch; return how many came in a row."""
        self._at_once += counts
        return self._at_once

    def death(self, training: Key, epoch: int) -> int:
        """Count a worker death; return how often one died after this same epoch of the training.

        A training that progresses between two deaths is not their cause.
        """
        before, times = self._deaths.get(training, (epoch, 0))
        times = times + 1 if before == epoch else 1
        self._deaths[training] = epoch, times
        return times
