"""Rungs: the epochs after which trials pause, and which trials a rung promotes."""

import math
from collections.abc import Sequence
from functools import cache

from search.scheduling.chooser import ObservedTrial

ETA = 3  # ratio of a rung to the previous one; a third of each rung is promoted
STARTUP = 10  # random trials before a model decides


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs after which trials of at most ``epochs`` epochs are judged, the last included.

    Each is a third of the next one, down to the second epoch: the first epoch is misleading
    (measured on LCBench: docs/decisions/0007-pause-and-promote.md).
    """
    steps = [epochs]
    while round(epochs / ETA ** len(steps)) > 1:
        steps.append(round(epochs / ETA ** len(steps)))
    return tuple(reversed(steps))


def standing(trials: Sequence[ObservedTrial], trial: ObservedTrial, rung: int) -> tuple[int, int]:
    """Rank of a trial's loss at a rung, from 1, and how many trials reached that rung."""
    there = [min(other.losses[:rung]) for other in trials if len(other.losses) >= rung]
    return 1 + sum(loss < min(trial.losses[:rung]) for loss in there), len(there)


def next_rung(steps: Sequence[int], epochs: int) -> int:
    """The first rung beyond that many epochs; the last one if there is none."""
    return next((rung for rung in steps if rung > epochs), steps[-1])


def epochs_to_come(trials: Sequence[ObservedTrial], planned: int, steps: Sequence[int]) -> int:
    """Epochs that a search still needs if a third of each rung is promoted from now on.

    Trials that already went beyond a rung count as promoted there, even if they are more.

    Args:
        trials: All trials that have started.
        planned: Total number of trials of the search, at least ``len(trials)``.
        steps: The rungs, the last epoch included.
    """
    total, before, entrants = 0, 0, planned
    for rung in steps:
        inside = [
            trial
            for trial in trials
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


def why_left(trials: Sequence[ObservedTrial], trial: ObservedTrial, steps: Sequence[int]) -> str:
    """Why a paused trial was not resumed before the search ended."""
    rung = reached(trial, steps)
    rank, count = standing(trials, trial, rung)
    further = [min(t.losses[:rung]) for t in trials if len(t.losses) > rung]
    beaten = f"; {len(further)} continued, with up to {max(further):.4f}" if further else ""
    return (
        f"not promoted beyond epoch {rung} of {steps[-1]}: {trial.best:.4f}, rank {rank} of "
        f"{count} there{beaten}; {steps[-1] - rung} epochs saved"
    )


def promotable(
    trials: Sequence[ObservedTrial], steps: Sequence[int], *, new: bool
) -> list[ObservedTrial]:
    """Paused trials that may be resumed.

    All of them while new trials may start. After that, a third of each rung continues, rounded
    up, including those that continued before.
    """
    paused = [trial for trial in trials if trial.state == "paused"]
    if new:
        return paused
    room = {}
    for rung in steps:
        there = [trial for trial in trials if len(trial.losses) >= rung]
        on = sum(len(trial.losses) > rung or trial.state == "running" for trial in there)
        room[rung] = math.ceil(len(there) / ETA) - on
    return [t for t in paused if room.get(reached(t, steps), 1) > 0]


def reached(trial: ObservedTrial, steps: Sequence[int]) -> int:
    """The last rung that a trial has reached; 0 before the first."""
    return _rung_at(len(trial.losses), tuple(steps))


@cache
def _rung_at(epochs: int, steps: tuple[int, ...]) -> int:
    return max((rung for rung in steps if rung <= epochs), default=0)
