"""The trials that a search decides about, as part of the search state."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from search.scheduling.chooser import ObservedState, ObservedTrial


class TrialTable:
    """The trials that count, by number, in the order they started.

    Attributes:
        lowest: The lowest loss after each epoch of all trials, in order of time.
        moves: Number of changes so far that may let a paused trial go on: trials began, changed
            their state or reached a rung.
        spent: Total epochs of the trials.

    Args:
        rungs: The epochs after which trials pause.
    """

    def __init__(self, rungs: Sequence[int] = ()) -> None:
        self.lowest: list[float] = []
        self.moves = 0
        self.spent = 0
        self._rungs = frozenset(rungs)
        self._order: list[tuple[int, int]] = []  # number and epoch, in order of time
        self._trials: dict[int, ObservedTrial] = {}
        self._numbers: dict[frozenset[tuple[str, Any]], int] = {}

    def __len__(self) -> int:
        return len(self._trials)

    def __contains__(self, number: int) -> bool:
        return number in self._trials

    def __getitem__(self, number: int) -> ObservedTrial:
        return self._trials[number]

    def __iter__(self) -> Iterator[ObservedTrial]:
        return iter(self._trials.values())

    @property
    def best(self) -> ObservedTrial | None:
        """The trial with the lowest loss; None if there is none."""
        best = min(self, key=lambda trial: trial.best, default=None)
        return best if best is not None and math.isfinite(best.best) else None

    def usual_length(self, most: int) -> int:
        """Typical epochs of an ended trial, after pruning and early stopping."""
        over = [len(trial.losses) for trial in self if trial.state == "over"]
        return round(sum(over) / len(over)) if over else most

    def add(self, trial: ObservedTrial) -> int:
        """Add a trial; return the number of the first one with its configuration."""
        first = self._numbers.setdefault(trial.key, trial.number)
        if first == trial.number:
            self._put(trial)
        return first

    def forget(self, number: int) -> None:
        """Stop counting a trial that another one replaces."""
        trial = self._trials.pop(number)
        self._numbers.pop(trial.key, None)
        self.spent -= len(trial.losses)
        self.moves += 1

    def put(self, number: int, state: ObservedState) -> ObservedTrial:
        """Set a trial's state."""
        return self._put(self._trials[number].now(state))

    def learn(self, number: int, epoch: int, loss: float) -> None:
        """Add an epoch of a trial; repeated calls have no effect."""
        if epoch > len(self._trials[number].losses):
            self._put(self._trials[number].after(loss))
            self.recall(number, epoch)

    def recall(self, number: int, epoch: int) -> None:
        """Add a stored epoch of a trial to the time order."""
        losses = self._trials[number].losses if number in self._trials else ()
        if epoch <= len(losses):
            self._order.append((number, epoch))
            self.lowest.append(min([losses[epoch - 1], *self.lowest[-1:]]))

    def unfit(self, number: int) -> None:
        """Mark a configuration as bad: it diverged or does not fit in memory."""
        self._put(self._trials[number].after(math.inf).now("over"))

    def unlearn(self, number: int) -> None:
        """Learn nothing from a trial that failed through no fault of its configuration."""
        self._put(replace(self._trials[number], losses=(), state="over"))
        order, self._order, self.lowest = self._order, [], []
        for report in order:
            self.recall(*report)

    def _put(self, trial: ObservedTrial) -> ObservedTrial:
        before = self._trials.get(trial.number)
        self._trials[trial.number] = trial
        self.spent += len(trial.losses) - (len(before.losses) if before else 0)
        at_rung = len(trial.losses) in self._rungs
        self.moves += before is None or before.state != trial.state or at_rung
        return trial
