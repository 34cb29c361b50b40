"""Trials of a study: which count, which is best, which can be retried."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from models.history import EpochFigures
from search.protocol import NetworkSize
from search.scheduling.chooser import ObservedState, ObservedTrial
from search.study.attributes import DUPLICATE, LATENCY, MEMORY_HAD, OWN_FAULT, RETRY_OF, UNFIT
from storage.tables import Records

MORE_MEMORY = 1.25  # factor of worker memory above which a trial that ran out of it is retried


def history(records: Records, study: str, run: str) -> list[EpochFigures]:
    """The epochs of a training in treino's tables."""
    return [EpochFigures(**asdict(row)) for row in records.epochs(study, run)]


def run_name(number: int) -> str:
    """Name of a trial's training in treino's tables and folders."""
    return f"trial-{number:05d}"


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count towards a study's total, in order.

    These are all trials that have begun, without duplicates and without trials that a retry has
    replaced.
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
    """Trials of ``counted`` that ended before their first epoch and can be retried.

    They failed because workers died or could not train, or were too large. Trials that ran out of
    memory can be retried if a worker now has more. Trials that failed in the user's code are left
    out if a later trial has trained with it, because they would fail again.

    Args:
        trials: All trials that count.
        memory: Bytes that a worker has now; None if unknown.
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
    """Whether a trial was not trained because it was too large or memory was short."""
    if trial.state is not TrialState.PRUNED or UNFIT not in trial.user_attrs:
        return False
    # "epochs" is stored when a trial ends that a worker had started.
    if "epochs" not in trial.user_attrs:
        return True
    had = trial.user_attrs.get(MEMORY_HAD)
    return had is not None and memory is not None and memory > MORE_MEMORY * had


def states(study: optuna.Study) -> Mapping[str, int]:
    """Number of trials in each state. RUNNING counts as ``paused``, as no tuner is running."""
    return Counter(
        "paused" if trial.state is TrialState.RUNNING else trial.state.name.lower()
        for trial in counted(study.get_trials(deepcopy=False))
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial with the lowest loss at any of its epochs; None if there is none.

    The trial need not be complete: its lowest loss can only decrease with more epochs.
    """
    trials = study.get_trials(deepcopy=False)
    best = min(trials, key=lowest, default=None)
    return best if best is not None and math.isfinite(lowest(best)) else None


def lowest(trial: FrozenTrial) -> float:
    """The lowest loss of a trial; infinite if it has no epoch or failed."""
    if trial.state is TrialState.FAIL:
        return math.inf
    return min(filter(math.isfinite, trial.intermediate_values.values()), default=math.inf)


def observed(trial: FrozenTrial, steps: Sequence[int] = ()) -> ObservedTrial:
    """The part of a trial that decisions are based on; ``steps`` are the rungs it can pause at."""
    losses = tuple(loss for _, loss in sorted(trial.intermediate_values.items()))
    if trial.state is TrialState.FAIL:  # not the configuration's fault, so nothing to learn
        losses = ()
    if UNFIT in trial.user_attrs:
        losses = (*losses, math.inf)
    state: ObservedState = "over"
    if trial.state is TrialState.RUNNING:
        state = "paused" if len(losses) in steps[:-1] else "running"
    return ObservedTrial(trial.number, trial.params, losses, state)


def size_of(trial: FrozenTrial) -> NetworkSize | None:
    """The size of a trial's network as stored; None if it is not."""
    parameters = trial.user_attrs.get("parameters", 0)
    operations = trial.user_attrs.get("operations", 0)
    latency = trial.user_attrs.get(LATENCY, 0.0)
    size = NetworkSize(parameters, operations, latency)
    return size if size != NetworkSize(0) else None


def sample_of_pruned(trials: Sequence[FrozenTrial], count: int, seed: int) -> list[FrozenTrial]:
    """A random sample of up to ``count`` pruned trials, without diverged or too large ones."""
    pruned = [t for t in trials if t.state is TrialState.PRUNED and UNFIT not in t.user_attrs]
    random = np.random.default_rng((seed, len(pruned)))
    drawn = random.permutation(len(pruned))[:count]
    return [pruned[n] for n in sorted(drawn)]
