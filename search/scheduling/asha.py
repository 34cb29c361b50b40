"""Pause and promote: which trial to train next, and how far.

Every trial trains to the first rung and pauses. A free worker then either starts a new trial or
promotes a paused one to its next rung, whichever is more promising. A paused trial can always be
resumed. ``AsyncHalving`` promotes the best third of each rung, like asynchronous successive halving
(Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020).
``search.scheduling.freeze_thaw.FreezeThaw`` uses a model of the losses. Both decide from their
arguments alone, so an interrupted and resumed search makes the same decisions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Literal, Protocol

from search.spaces.unit_cube import Params

ETA = 3  # ratio of a rung to the previous one; a third of each rung is promoted
STARTUP = 10  # random trials before a model decides


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
        self, seen: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """Return the next training of a free worker; None for nothing.

        Args:
            seen: All trials that have started.
            new: Whether a new trial may start. If not, the search is near its end, and paused
                trials continue only until a third of each rung is promoted.
            paused: Whether paused trials may resume.
        """


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs after which trials of at most ``epochs`` epochs are judged, the last included.

    Each is a third of the next one, down to the second epoch: the first epoch is misleading
    (measured on LCBench: docs/decisions/0007-pause-and-promote.md).
    """
    found = [epochs]
    while round(epochs / ETA ** len(found)) > 1:
        found.append(round(epochs / ETA ** len(found)))
    return tuple(reversed(found))


def standing(seen: Sequence[ObservedTrial], trial: ObservedTrial, rung: int) -> tuple[int, int]:
    """Rank of a trial's loss at a rung, from 1, and how many trials reached that rung."""
    there = [min(other.losses[:rung]) for other in seen if len(other.losses) >= rung]
    return 1 + sum(loss < min(trial.losses[:rung]) for loss in there), len(there)


def next_rung(steps: Sequence[int], epochs: int) -> int:
    """The first rung beyond that many epochs; the last one if there is none."""
    return next((rung for rung in steps if rung > epochs), steps[-1])


def epochs_to_come(seen: Sequence[ObservedTrial], trials: int, steps: Sequence[int]) -> int:
    """Epochs that a search still needs if a third of each rung is promoted from now on.

    Trials that already went beyond a rung count as promoted there, even if they are more.

    Args:
        seen: All trials that have started.
        trials: Total number of trials of the search, at least ``len(seen)``.
        steps: The rungs, the last epoch included.
    """
    total, before, entrants = 0, 0, trials
    for rung in steps:
        inside = [
            trial
            for trial in seen
            if len(trial.losses) > before or (len(trial.losses) == before and _goes_on(trial))
        ]
        entrants = max(entrants, len(inside))
        short = [trial for trial in inside if len(trial.losses) < rung]
        total += sum(rung - len(trial.losses) for trial in short if trial.state != "over")
        total += (entrants - len(inside)) * (rung - before)
        reaching = entrants - sum(trial.state == "over" for trial in short)
        entrants, before = math.ceil(reaching / ETA), rung
    return total


def _goes_on(trial: ObservedTrial) -> bool:
    """Whether a trial will continue beyond the epoch that it has reached."""
    return trial.state == "running" or not trial.losses


def why_left(seen: Sequence[ObservedTrial], trial: ObservedTrial, steps: Sequence[int]) -> str:
    """Why a paused trial was not resumed before the search ended."""
    rung = reached(trial, steps)
    rank, count = standing(seen, trial, rung)
    further = [min(t.losses[:rung]) for t in seen if len(t.losses) > rung]
    beaten = f"; {len(further)} continued, with up to {max(further):.4f}" if further else ""
    return (
        f"not promoted beyond epoch {rung} of {steps[-1]}: {trial.best:.4f}, rank {rank} of "
        f"{count} there{beaten}; {steps[-1] - rung} epochs saved"
    )


def promotable(
    seen: Sequence[ObservedTrial], steps: Sequence[int], *, new: bool
) -> list[ObservedTrial]:
    """Paused trials that may be resumed.

    All of them while new trials may start. After that, a third of each rung continues, rounded
    up, including those that continued before.
    """
    paused = [trial for trial in seen if trial.state == "paused"]
    if new:
        return paused
    room = {}
    for rung in steps:
        there = [trial for trial in seen if len(trial.losses) >= rung]
        on = sum(len(trial.losses) > rung or trial.state == "running" for trial in there)
        room[rung] = math.ceil(len(there) / ETA) - on
    return [t for t in paused if room.get(reached(t, steps), 1) > 0]


def reached(trial: ObservedTrial, steps: Sequence[int]) -> int:
    """The last rung that a trial has reached; 0 before the first."""
    return _rung_at(len(trial.losses), tuple(steps))


@cache
def _rung_at(epochs: int, steps: tuple[int, ...]) -> int:
    return max((rung for rung in steps if rung <= epochs), default=0)


class AsyncHalving:
    """Promotes the best third of each rung, deepest first; otherwise starts a new trial."""

    def __init__(
        self,
        epochs: int,
        propose: Callable[[Sequence[ObservedTrial], Sequence[int]], Params | None],
        steps: Sequence[int] = (),
    ) -> None:
        """Take new configurations from ``propose``: (trials, rungs) -> configuration.

        ``steps`` are the rungs including the last epoch; ``rungs(epochs)`` by default.
        """
        self._rungs = tuple(steps) or rungs(epochs)
        self._propose = propose

    memory = None

    def choose(
        self, seen: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        if paused:
            may = {trial.number for trial in promotable(seen, self._rungs, new=new)}
            for rung in reversed(self._rungs[:-1]):
                there = sorted(
                    (t for t in seen if len(t.losses) >= rung), key=lambda t: min(t.losses[:rung])
                )
                share = len(there) / ETA
                for rank, trial in enumerate(there[: int(share) if new else math.ceil(share)], 1):
                    if trial.number in may and len(trial.losses) == rung:
                        why = f"rank {rank} of {len(there)} after epoch {rung}"
                        return NextTraining(trial.number, trial.params, why)
        params = self._propose(seen, self._rungs) if new else None
        return None if params is None else NextTraining(None, params, "")
