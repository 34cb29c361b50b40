"""What a search knows of its trials while it runs, and what it would train next.

In memory, and without a database: the tuner tells it what happens, and asks. A lineup made from
what the study holds decides as the one that saw it happen.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.coordinates import Params
from search.promotion import (
    Choice,
    Chooser,
    Seen,
    epochs_to_come,
    next_rung,
    rungs,
    standing,
    why_left,
)


class Lineup:
    """The trials of a search.

    Attributes:
        unfinished: Numbers of trials that were broken off between rungs and have to go on.
        used_up: Whether every further configuration was trained before.
        rungs: Epochs after which trials are paused; empty where they are not.
        epochs: The most epochs a trial trains.
        lowest: The lowest loss after each epoch of all trials, in order of time.
    """

    def __init__(
        self, chooser: Chooser, epochs: int, *, pausing: bool, most_trials: int | None
    ) -> None:
        """Have ``chooser`` choose; ``most_trials`` is how many the study is to have in all."""
        self.unfinished: deque[int] = deque()
        self.used_up = False
        self.epochs = epochs
        self.lowest: list[float] = []
        self.rungs = rungs(epochs) if pausing else ()
        self._chooser = chooser
        self._most = most_trials
        self._seen: dict[int, Seen] = {}
        self._numbers: dict[frozenset[tuple[str, Any]], int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def __getitem__(self, number: int) -> Seen:
        return self._seen[number]

    @property
    def seen(self) -> list[Seen]:
        """All trials that were begun."""
        return list(self._seen.values())

    @property
    def memory(self) -> Mapping[str, Any] | None:
        """What another lineup's chooser needs to decide as this one's."""
        return self._chooser.memory

    @property
    def spent(self) -> int:
        """Epochs that the trials have had."""
        return sum(len(seen.losses) for seen in self._seen.values())

    def epochs_had(self, number: int) -> int:
        """Epochs that a trial has had; 0 of one that was not begun."""
        return len(self._seen[number].losses) if number in self._seen else 0

    @property
    def paused(self) -> int:
        """Trials that wait to be taken up."""
        return sum(seen.state == "paused" for seen in self._seen.values())

    @property
    def best(self) -> Seen | None:
        """The trial with the lowest loss; None while there is none."""
        best = min(self._seen.values(), key=lambda seen: seen.best, default=None)
        return best if best is not None and math.isfinite(best.best) else None

    @property
    def wants_new(self) -> bool:
        """Whether a new trial may be begun."""
        return not self.used_up and (self._most is None or len(self._seen) < self._most)

    @property
    def may_replace(self) -> bool:
        """Whether a new trial might be begun in the place of one that is forgotten."""
        return self._most is None or len(self._seen) <= self._most

    def add(self, seen: Seen) -> int:
        """Take a trial in; returns the number of the first one with its configuration."""
        first = self._numbers.setdefault(seen.key, seen.number)
        if first == seen.number:
            self._seen[seen.number] = seen
        return first

    def forget(self, number: int) -> None:
        """A trial is to count no more: another one is going to take its place."""
        forgotten = self._seen.pop(number)
        self._numbers.pop(forgotten.key, None)

    def began(self, number: int, params: Params) -> int:
        """A worker takes a trial up, new or not; returns the epoch at which to ask ``at_rung``."""
        before = self._seen.get(number, Seen(number, params, (), "running"))
        self._seen[number] = replace(before, params=params, state="running")
        return next_rung(self.rungs, len(before.losses)) if self.rungs else self.epochs

    def epoch(self, number: int, epoch: int, loss: float) -> None:
        """An epoch of a trial is known; told again, it is known already."""
        if epoch > len(self._seen[number].losses):
            self._seen[number] = self._seen[number].after(loss)
            self.lowest.append(min([loss, *self.lowest[-1:]]))

    def recall(self, reported: Sequence[tuple[int, int]]) -> None:
        """Learn in which order trials had their epochs: (number, epoch) of each."""
        for number, epoch in reported:
            losses = self._seen[number].losses if number in self._seen else ()
            if epoch <= len(losses):
                self.lowest.append(min([losses[epoch - 1], *self.lowest[-1:]]))

    def let_go(self, number: int) -> None:
        """A worker has let a trial go before its end."""
        if len(self._seen[number].losses) in self.rungs:
            self._seen[number] = self._seen[number].now("paused")
        else:
            self.unfinished.append(number)

    def over(self, number: int) -> None:
        """A trial has ended."""
        self._seen[number] = self._seen[number].now("over")

    def unfit(self, number: int) -> None:
        """A configuration is no good: it diverged, or there is no room for it."""
        self._seen[number] = self._seen[number].after(math.inf)

    def failed(self, number: int) -> None:
        """A trial broke by no fault of its configuration: nothing is learned from it."""
        self._seen[number] = replace(self._seen[number], losses=(), state="over")

    def choose(self) -> Choice | None:
        """What a free worker is to train; None for nothing."""
        choice = self._chooser.choose(self.seen, new=self.wants_new, paused=bool(self.rungs))
        if choice is None and self.wants_new:
            self.used_up = True
        return choice

    def at_rung(self, number: int) -> tuple[bool, str]:
        """Whether a trial goes on at once from the rung it has reached, and why.

        Only if it is what is best trained next.
        """
        epoch = len(self._seen[number].losses)
        self._seen[number] = self._seen[number].now("paused")
        choice = self.choose()
        rank, count = standing(self.seen, self._seen[number], epoch)
        # Until its worker has let go of it, it is not there to be taken up by another.
        self._seen[number] = self._seen[number].now("running")
        if choice is not None and choice.number == number:
            return True, f"after epoch {epoch}: trained on, {choice.reason}"
        return False, f"after epoch {epoch}: paused, rank {rank} of {count} there"

    def left(self, number: int) -> str:
        """Why a paused trial was not taken up before the search ended."""
        return why_left(self.seen, self._seen[number], self.rungs)

    def epochs_left(self, budget: int | None) -> float:
        """Epochs that the search still needs, as far as it can be told; infinite if it cannot.

        Where trials are paused, promotions still to come are among them.
        """
        left = math.inf
        if self._most is not None:
            total = len(self._seen) if self.used_up else max(self._most, len(self._seen))
            left = epochs_to_come(self.seen, total, self.rungs or (self._usual_length,))
        if budget is not None:
            left = min(left, budget - self.spent)
        return max(left, 0.0)

    @property
    def _usual_length(self) -> int:
        """Epochs of a trial that is not paused, with what pruning and early stopping saved."""
        over = [len(seen.losses) for seen in self._seen.values() if seen.state == "over"]
        return round(sum(over) / len(over)) if over else self.epochs
