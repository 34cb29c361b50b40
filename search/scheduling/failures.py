"""Counts failures across trials, as part of the search state."""

from collections.abc import Mapping

HOPELESS = 5  # trials that fail before their first epoch while no other gets there


class Failures:
    """Counts deaths of workers, and trials that fail before their first epoch.

    Args:
        deaths: Epoch and how often a worker has died after it, by number of the trial.
    """

    def __init__(self, deaths: Mapping[int, tuple[int, int]]) -> None:
        self._deaths = dict(deaths)
        self._at_once = 0

    def gets_on(self) -> None:
        """A trial has come to an epoch, or failed by its configuration."""
        self._at_once = 0

    def at_once(self, *, counts: bool) -> int:
        """A trial has failed before its first epoch; returns how many did in a row."""
        self._at_once += counts
        return self._at_once

    def death(self, number: int, epoch: int) -> int:
        """A trial's worker has died; returns how often one did after this same epoch.

        A trial that gets on between two deaths is not what kills its workers.
        """
        before, times = self._deaths.get(number, (epoch, 0))
        times = times + 1 if before == epoch else 1
        self._deaths[number] = epoch, times
        return times
