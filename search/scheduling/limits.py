"""Inputs of a search state: its limits and the stored content of its study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.scheduling.chooser import ObservedTrial
from search.scheduling.rungs import epochs_to_come, rungs
from search.scheduling.trial_table import TrialTable


@dataclass(frozen=True)
class Limits:
    """How much a search may train.

    Attributes:
        epochs: Maximum epochs of a trial.
        pausing: Whether trials are paused at rungs and resumed.
        trials: Total number of trials of the study; None for no limit.
        budget: Total epochs of the study's trials; None for no limit.
        timeout: Seconds; no epoch starts that is expected to end later. None for no limit.
        stop_when_flat: Whether to end the search when it is flat.
        by_loss: Whether the lowest loss alone says how far the search is.
    """

    epochs: int
    pausing: bool
    trials: int | None = None
    budget: int | None = None
    timeout: float | None = None
    stop_when_flat: bool = False
    by_loss: bool = True

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which trials pause; empty if they do not."""
        return rungs(self.epochs) if self.pausing else ()


@dataclass(frozen=True)
class Stored:
    """The stored trials of a study.

    Attributes:
        trials: The trials that count, in order.
        enqueued: Number of enqueued trials.
        pruned: Numbers of trials with a prune decision that is not carried out yet.
        deaths: By trial number, an epoch and how often a worker died after it.
        reported: Trial number and epoch of each stored epoch, in order of time.
        processors: By trial number, the type of processor that it was last trained on, if known.
    """

    trials: Sequence[ObservedTrial] = ()
    enqueued: int = 0
    pruned: Sequence[int] = ()
    deaths: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    reported: Sequence[tuple[int, int]] = ()
    processors: Mapping[int, str] = field(default_factory=dict)


def epochs_left(trials: TrialTable, limits: Limits, *, used_up: bool) -> float:
    """Estimate of the epochs that a search still needs; infinite if unknown.

    If trials pause, it includes future promotions. ``used_up`` says whether no untried
    configuration is left.
    """
    left = math.inf
    if limits.trials is not None:
        total = len(trials) if used_up else max(limits.trials, len(trials))
        steps = limits.rungs or (trials.usual_length(limits.epochs),)
        left = epochs_to_come(list(trials), total, steps)
    if limits.budget is not None:
        left = min(left, limits.budget - trials.spent)
    return max(left, 0.0)
