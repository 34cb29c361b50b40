"""Inputs of a search state: its limits and the stored content of its study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.scheduling.asha import ObservedTrial, epochs_to_come, rungs
from search.scheduling.trial_table import TrialTable


@dataclass(frozen=True)
class Limits:
    """How much a search may train.

    Attributes:
        epochs: The most epochs of a trial.
        pausing: Whether trials are paused at rungs and resumed.
        trials: Trials the study is to have in all; None for no limit.
        budget: Epochs that the study's trials are to have in all; None for no limit.
        timeout: Seconds; no epoch is begun that is expected to end later. None for no limit.
        stop_when_flat: Whether to end when another hour is likely to bring hardly anything.
    """

    epochs: int
    pausing: bool
    trials: int | None = None
    budget: int | None = None
    timeout: float | None = None
    stop_when_flat: bool = False

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which trials are paused; empty where they are not."""
        return rungs(self.epochs) if self.pausing else ()


@dataclass(frozen=True)
class Stored:
    """What a study's store holds of its trials.

    Attributes:
        trials: Those that count, in order.
        enqueued: How many trials wait to be begun.
        pruned: Numbers of trials whose pruning was decided and not carried out.
        deaths: Epoch and how often a worker died after it, by number of the trial.
        reported: Number and epoch of what the trials have had, in order of time.
    """

    trials: Sequence[ObservedTrial] = ()
    enqueued: int = 0
    pruned: Sequence[int] = ()
    deaths: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    reported: Sequence[tuple[int, int]] = ()


def epochs_left(trials: TrialTable, limits: Limits, *, used_up: bool) -> float:
    """Epochs that a search still needs, as far as it can be told; infinite if it cannot.

    Where trials are paused, promotions still to come are among them. ``used_up`` says whether no
    untried configuration is left.
    """
    left = math.inf
    if limits.trials is not None:
        total = len(trials) if used_up else max(limits.trials, len(trials))
        steps = limits.rungs or (trials.usual_length(limits.epochs),)
        left = epochs_to_come(list(trials), total, steps)
    if limits.budget is not None:
        left = min(left, limits.budget - trials.spent)
    return max(left, 0.0)
