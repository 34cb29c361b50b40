"""What a study holds of its trials: which count, which are best, which may be retried."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from models.history import EpochFigures
from search.scheduling.asha import ObservedState, ObservedTrial
from search.study.attributes import DUPLICATE, MEMORY_HAD, OWN_FAULT, RETRY_OF, UNFIT
from storage.tables import Records

MORE_MEMORY = 1.25  # times as much as a worker had: what it ran out of is then tried again


def history(records: Records, study: str, run: str) -> list[EpochFigures]:
    """The figures that our tables have of a training."""
    return [EpochFigures(**asdict(row)) for row in records.epochs(study, run)]


def run_name(number: int) -> str:
    """What a trial's training is called in our tables and folders."""
    return f"trial-{number:05d}"


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count to a study's total, in order.

    Trials that were begun, but for duplicates and for those that a later one has replaced.
    """
    begun = [
        t for t in trials if t.state is not TrialState.WAITING and DUPLICATE not in t.user_attrs
    ]
    newest = {seed_number(trial): trial.number for trial in begun}
    return [trial for trial in begun if newest[seed_number(trial)] == trial.number]


def seed_number(trial: FrozenTrial | optuna.Trial) -> int:
    """The number that a trial's seed derives from: its own, or that of the trial it replaces."""
    return int(trial.user_attrs.get(RETRY_OF, trial.number))


def never_trained(trials: Sequence[FrozenTrial], memory: int | None = None) -> list[FrozenTrial]:
    """Trials of ``counted`` that ended before their first epoch, and may be trained yet.

    They failed, because workers died or could not train at all, or there was no room for them.
    What ran out of memory may be trained where a worker now has more. What failed in the user's
    code while a later trial got along with it would fail again.

    Args:
        trials: All that count.
        memory: Bytes that a worker has now; None where that is not known.
    """
    newest = max((trial.number for trial in trials if trial.intermediate_values), default=-1)
    return [
        trial
        for trial in trials
        if not trial.intermediate_values
        and not (OWN_FAULT in trial.user_attrs and trial.number < newest)
        and (trial.state is TrialState.FAIL or _had_no_room(trial, memory))
    ]


def _had_no_room(trial: FrozenTrial, memory: int | None) -> bool:
    """Whether a trial was not trained for want of memory, or of allowed size; see above."""
    if trial.state is not TrialState.PRUNED or UNFIT not in trial.user_attrs:
        return False
    # What ends a trial that was given to a worker writes "epochs" down.
    if "epochs" not in trial.user_attrs:
        return True
    had = trial.user_attrs.get(MEMORY_HAD)
    return had is not None and memory is not None and memory > MORE_MEMORY * had


def states(study: optuna.Study) -> Mapping[str, int]:
    """How many trials are in each state; RUNNING reads ``paused``: no tuner is at work on them."""
    return Counter(
        "paused" if trial.state is TrialState.RUNNING else trial.state.name.lower()
        for trial in counted(study.get_trials(deepcopy=False))
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial with the lowest loss at any of its epochs; None while there is none.

    Complete or not: a trial that is ahead of all others before its end would only get better.
    """
    trials = study.get_trials(deepcopy=False)
    best = min(trials, key=lowest, default=None)
    return best if best is not None and math.isfinite(lowest(best)) else None


def lowest(trial: FrozenTrial) -> float:
    """The lowest figure that a trial was judged by; infinite before its first epoch or failed."""
    if trial.state is TrialState.FAIL:
        return math.inf
    return min(filter(math.isfinite, trial.intermediate_values.values()), default=math.inf)


def seen(trial: FrozenTrial, steps: Sequence[int] = ()) -> ObservedTrial:
    """What a decision may know of a trial of the study; ``steps`` are the rungs it can wait at."""
    losses = tuple(loss for _, loss in sorted(trial.intermediate_values.items()))
    if trial.state is TrialState.FAIL:  # by no fault of its configuration: nothing is learned
        losses = ()
    if UNFIT in trial.user_attrs:
        losses = (*losses, math.inf)
    state: ObservedState = "over"
    if trial.state is TrialState.RUNNING:
        state = "paused" if len(losses) in steps[:-1] else "running"
    return ObservedTrial(trial.number, trial.params, losses, state)


def sample_of_pruned(trials: Sequence[FrozenTrial], count: int, seed: int) -> list[FrozenTrial]:
    """Up to ``count`` of the trials that were pruned while they were fit, drawn at random."""
    pruned = [t for t in trials if t.state is TrialState.PRUNED and UNFIT not in t.user_attrs]
    random = np.random.default_rng((seed, len(pruned)))
    drawn = random.permutation(len(pruned))[:count]
    return [pruned[n] for n in sorted(drawn)]
