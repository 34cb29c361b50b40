"""What a chooser of the next training is shown, and what it answers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol

from search.spaces.unit_cube import Params

ObservedState = Literal["running", "paused", "over"]


@dataclass(frozen=True)
class ObservedTrial:
    """A trial, as a decision sees it.

    Attributes:
        number: Its number in the study.
        params: Its configuration.
        losses: The objective after each epoch so far; infinite where it diverged.
        state: ``running``; ``paused``: can be resumed; ``over``: cannot.
    """

    number: int
    params: Params
    losses: tuple[float, ...]
    state: ObservedState

    # Cached: each decision needs them for every trial, and few trials change.
    @cached_property
    def best(self) -> float:
        """The lowest loss so far; infinite before the first epoch."""
        return min(self.losses, default=math.inf)

    @cached_property
    def key(self) -> frozenset[tuple[str, Any]]:
        """The configuration as a lookup key."""
        return frozenset(self.params.items())

    def after(self, loss: float) -> "ObservedTrial":
        """The trial after one more epoch."""
        return replace(self, losses=(*self.losses, loss))

    def now(self, state: ObservedState) -> "ObservedTrial":
        """The trial in another state."""
        return replace(self, state=state)


@dataclass(frozen=True)
class NextTraining:
    """The next training of a free worker.

    Attributes:
        number: The paused trial to resume; None for a new one.
        params: Configuration of the new or paused trial.
        reason: The reason, in a few words.
    """

    number: int | None
    params: Params
    reason: str


class Chooser(Protocol):
    """Decides what to train next."""

    @property
    def memory(self) -> Mapping[str, Any] | None:
        """State that a later chooser needs to make the same decisions; None if none."""

    def choose(
        self, trials: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """Return the next training of a free worker; None for nothing.

        Args:
            trials: All trials that have started.
            new: Whether a new trial may start. If not, the search is near its end, and paused
                trials continue only until a third of each rung is promoted.
            paused: Whether paused trials may resume.
        """
