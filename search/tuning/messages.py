"""Messages that a search prints at its start and end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

from models.documented import BEST_TEST_ACCURACY, DocumentedRun
from models.history import EpochFigures, best_epoch, told_figures, told_objective
from search.console.display import Overall
from search.console.text import duration, plural
from search.intervals import of_share, told_if_wide, told_share
from search.scheduling.front import on_front
from search.scheduling.instructions import FinishTrial
from search.scheduling.prior import Prior, judged_in, told_trust, trusted_in
from search.scheduling.search_state import SearchState
from search.spaces.room import Room
from search.study.attributes import MEMORY, REASON
from search.study.recipe import recipe_of
from search.study.study_front import front_of
from search.study.trials import best_trial, counted, lowest, states
from search.tuning.plan import Outcome, Plan
from storage.files import Layout
from storage.tables import ModelRow

EXPECTED_ACCURACY = 0.9  # before a search, to say how certain it can be

STATES = {"complete": "complete", "pruned": "pruned", "fail": "failed", "paused": "paused"}


def opening(study: optuna.Study, new: bool, plan: Plan, workers: str) -> str:
    """One line: study, progress so far, limits and ``workers``, in a phrase."""
    where = f"new study {study.study_name!r}"
    if not new:
        where = f"resuming study {study.study_name!r} from {_counted(states(study))}"
    limits = []
    if plan.trials is not None:
        limits.append(plural(plan.trials, "trial"))
    if plan.budget is not None:
        limits.append(plural(plan.budget, "epoch"))
    if plan.timeout is not None:
        limits.append(duration(plan.timeout))
    return f"{where}; up to {', '.join(limits)}; {workers}"


def few_images(images: int) -> str:
    """One line if accuracies on so many validation images are uncertain; else empty."""
    told = told_if_wide(EXPECTED_ACCURACY, images)
    return told and f"few validation images: {told}; retrain-best --folds 5 uses more"


def knowing(study: optuna.Study, new: bool, prior: Prior) -> str:
    """One line about the warm start, if the study is new or its prior has changed; else empty."""
    if new and prior.names:
        return f"warm start from {prior} (--prior none disables it)"
    memory = study.user_attrs.get(MEMORY)
    before = list(trusted_in(memory)) if memory else prior.names
    changes = [
        f"{word} {name}"
        for word, names, others in (("without", before, prior.names), ("with", prior.names, before))
        for name in names
        if name not in others
    ]
    return f"the warm start has changed: {', '.join(changes)}" if changes else ""


def closing(
    study: optuna.Study, outcome: Outcome, layout: Layout, *, interrupted: bool
) -> list[str]:
    """What the search did, the best trial, and what to do next: one line each."""
    monitor = recipe_of(study).monitor
    lines = [f"study {study.study_name!r}: {_counted(outcome.states)}"]
    if outcome.epochs:
        lines.append(
            f"{plural(outcome.epochs, 'epoch')} in {duration(outcome.seconds)}, "
            f"{outcome.images / outcome.seconds:,.0f} images/s, "
            f"{outcome.training:.0%} of worker time spent training"
        )
    best = best_trial(study)
    if best is not None:
        attributes = best.user_attrs
        line = f"best: trial {best.number}, {told_objective(lowest(best), monitor)}"
        if best.state.is_finished():
            if monitor != "val_accuracy":
                line += f", val_accuracy {attributes['val_accuracy']:.4f}"
            line += f", {attributes['parameters']:,} parameters"
        lines.append(line)
    front = front_of(study)
    lines += front.lines() if front is not None else []
    if trusted := judged_in(study.user_attrs.get(MEMORY) or {}):
        lines.append(told_trust(trusted))
    if outcome.outlook is not None and not outcome.flat:
        lines.append(str(outcome.outlook))
    lines.append(f"disk usage of {layout.root}/: {layout.used() / 2**20:,.0f} MiB")
    paused = outcome.states.get("paused", 0)
    if paused:
        them = "it" if paused == 1 else "them"
        lines.append(f"{plural(paused, 'paused trial')}: run the same command to resume {them}")
    if outcome.retriable:
        count, them = outcome.retriable, "it" if outcome.retriable == 1 else "them"
        lines.append(
            f"{plural(count, 'trial')} never trained: run the same command to retry {them}"
        )
    if not paused and best is not None and not interrupted:
        lines.append("next: make retrain-best, make report, make dashboard, make leaderboard")
    return lines


def untrained(study: optuna.Study) -> str:
    """One line for a search in which no trial has completed an epoch, with the last reason."""
    trials = reversed(counted(study.get_trials(deepcopy=False)))
    reason = next((t.user_attrs[REASON] for t in trials if REASON in t.user_attrs), "")
    why = f"last reason: {reason}" if reason else "there was not enough time"
    return f"no trial of study {study.study_name!r} has completed an epoch; {why}"


def as_values(row: ModelRow, test_images: int) -> dict[str, Any]:
    """A delivered model for ``--json``: its row, with the full spec.

    Args:
        row: The model's row in the database.
        test_images: Number of images the test accuracy was measured on.
    """
    interval = of_share(row.test_accuracy, test_images)
    test = {"test_images": test_images, "test_interval": interval}
    return asdict(row) | {"spec": json.loads(row.spec)} | test


def handed_over(row: ModelRow, test_images: int, folder: Path, *, cifar10: bool) -> str:
    """One line: test accuracy of the retrained model, and where the model is."""
    accuracy = f"test accuracy {told_share(row.test_accuracy, test_images)}"
    if cifar10:
        accuracy += f"; best of the documents on CIFAR-10: {BEST_TEST_ACCURACY}"
    return f"{row.title}: {accuracy}; model, card and figures in {folder}"


def of_baseline(
    run: DocumentedRun, row: ModelRow, test_images: int, folder: Path, *, cifar10: bool
) -> str:
    """One line: accuracy of a documented run trained here, with the documents' own figures."""
    line = (
        f"{run.name}: validation {row.val_accuracy:.4f}, test "
        f"{told_share(row.test_accuracy, test_images)} after {plural(row.epochs, 'epoch')}"
    )
    if cifar10:
        line += f"; the documents: {run.val_accuracy or '-'} / {run.test_accuracy or '-'}"
    return f"{line}; files in {folder}"


def beside(run: DocumentedRun, history: Sequence[EpochFigures]) -> list[str]:
    """First epochs of a run beside the documents' log of it; empty if they have no log.

    Both losses include the L2 penalty, as in the documents' log.
    """
    if not run.first_epochs:
        return []
    lines = ["first epochs, with the documents' figures in brackets (losses with the L2 penalty):"]
    for ours, theirs in zip(history, run.first_epochs, strict=False):
        lines.append(
            f"  {ours.epoch}  loss {ours.penalised_loss:.3f} ({theirs.loss:.3f})"
            f"  accuracy {ours.accuracy:.3f} ({theirs.accuracy:.3f})"
            f"  val_loss {ours.penalised_val_loss:.3f} ({theirs.val_loss:.3f})"
            f"  val_accuracy {ours.val_accuracy:.3f} ({theirs.val_accuracy:.3f})"
        )
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    """10 trials: 6 complete, 3 pruned, 1 failed."""
    parts = [f"{counts[state]} {word}" for state, word in STATES.items() if counts.get(state)]
    total = plural(sum(counts.values()), "trial")
    return f"{total}: {', '.join(parts)}" if parts else total


def overall(state: SearchState, plan: Plan, room: Room, workers: str = "") -> Overall:
    """Return how far a running search is.

    Args:
        state: Its state.
        plan: What it shall do.
        room: The sizes of its networks.
        workers: Where the workers are, if not here.
    """
    leader = state.trials.best
    best = ""
    if leader is not None:
        best = (
            f"best: {told_objective(leader.best, plan.monitor, name=False)}, trial {leader.number}"
        )
    if best and plan.size:
        trained = [trial for trial in state.trials if trial.losses]
        sizes = [getattr(room.sizes.known(trial.params), plan.size) for trial in trained]
        best += f"; front: {len(on_front([trial.best for trial in trained], sizes))}"
    outlook = state.outlook()
    next_hour = "" if outlook is None else f"{outlook.now:.4f} to about {outlook.then:.4f}"
    trusted = judged_in(state.memory)
    trust = f"trusted {sum(trusted.values()):.0%}" if trusted else ""
    if plan.trials is None and plan.budget is not None:
        spent = state.trials.spent
        return Overall(
            spent, plan.budget, "epochs", best, state.seconds_left, next_hour, trust, workers
        )
    count = len(state.trials)
    what = f"trials, {state.paused} paused" if state.paused else "trials"
    done = count - state.running - state.unfinished
    total = max(plan.trials or 0, count)
    return Overall(done, total, what, best, state.seconds_left, next_hour, trust, workers)


def end_of_trial(
    ended: FinishTrial, history: Sequence[EpochFigures], reason: str, monitor: str
) -> str:
    """How a trial ended, in one line."""
    if ended.state != "complete":
        # A reason from the pruner already includes the state.
        return f"{ended.state}: {reason}" if ended.reason else reason
    best = best_epoch(history, monitor)
    assert best is not None  # a training without a finite val_loss ends as Failed
    return f"complete: {told_figures(best)}  at epoch {best.epoch} of {len(history)}"
