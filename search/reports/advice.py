"""Derives advice on what to try next from a study, with the figures behind it."""

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution

from search.reports.reproduce import baseline_command, of_study
from search.study.snapshot import Snapshot, TrialView

EDGE = 0.05  # share of a range within which a best value counts as at its end
GAP = 0.08  # least gap of training over validation accuracy that counts as overfitting
FLAT = 0.4  # least share of epochs without a better loss that counts as flat


@dataclass(frozen=True)
class Advice:
    """A sentence, and the command to run, if any."""

    text: str
    command: str = ""


def advice(snapshot: Snapshot) -> list[Advice]:
    """What to try next, most useful first."""
    return [*_going_on(snapshot), *_of_the_best(snapshot), *_handing_over(snapshot)]


def _going_on(snapshot: Snapshot) -> Iterator[Advice]:
    failed = len(snapshot.of_state("failed"))
    if failed and failed * 2 >= len(snapshot.trials):
        yield Advice(
            f"{failed} of {len(snapshot.trials)} trials failed: check the reasons below and "
            f"var/{snapshot.study}/logs/ before resuming the search."
        )
    waiting = snapshot.of_state("paused")
    if snapshot.searching:
        yield Advice("A search is running on this study: write the report again when it has ended.")
    elif waiting:
        one = len(waiting) == 1
        yield Advice(
            f"{len(waiting)} trial{' is' if one else 's are'} paused: run the same search command "
            f"to resume {'it' if one else 'them'}."
        )
    elif not snapshot.trials:
        yield Advice("No trial has started yet: run the command below to start the search.")
    if snapshot.best is None or len(snapshot.trials) < 10 or snapshot.front is not None:
        return
    since = _epochs_since_best(snapshot)
    if since > FLAT * snapshot.spent:
        yield Advice(
            f"The last {since} of {snapshot.spent} epochs brought no improvement: more trials in "
            "the same space are unlikely to help. Try another space, or retrain the best trial."
        )
    elif since < snapshot.spent / 10:
        yield Advice(
            f"The best {snapshot.objective} is from the last {since + 1} of {snapshot.spent} "
            "epochs: the search is not flat yet, and more trials (TRIALS=) are likely to find a "
            "better one."
        )


def _of_the_best(snapshot: Snapshot) -> Iterator[Advice]:
    if snapshot.best is None or snapshot.best.best is None:
        return
    for name in snapshot.best.params:
        end = at_edge(snapshot.best, name)
        if end:
            yield Advice(
                f"The best trial has {name} {_shown(snapshot.best.params[name])}, at the {end} end "
                "of its range: better values may lie outside it."
            )
    figures = snapshot.best.best
    if figures.epoch == snapshot.epochs:
        yield Advice(
            f"The best trial was still improving at its last epoch, {snapshot.epochs}: try a "
            "study with more EPOCHS=."
        )
    gap = figures.accuracy - figures.val_accuracy
    if gap > GAP:
        yield Advice(
            f"The best trial overfits: accuracy {figures.accuracy:.3f} on the training images, "
            f"{figures.val_accuracy:.3f} on the validation images. Try more images, dropout "
            "or L2."
        )


def _handing_over(snapshot: Snapshot) -> Iterator[Advice]:
    retrain = of_study("retrain-best", snapshot.study)
    if snapshot.best is not None and snapshot.retrained is None:
        yield Advice("Train the best trial in full and test it on the test images:", retrain)
    elif (
        snapshot.best is not None
        and snapshot.retrained
        and snapshot.best.number not in snapshot.retrained_trials
        and snapshot.front is None  # else another trial of the front may be what is wanted
    ):
        numbers = ", ".join(map(str, snapshot.retrained_trials))
        of = f"{'trial' if len(snapshot.retrained_trials) == 1 else 'trials'} {numbers}"
        yield Advice(
            f"The delivered model is from {of}, and trial {snapshot.best.number} is better now:",
            retrain,
        )
    knee = None if snapshot.front is None else snapshot.front.knee
    if snapshot.front and knee and knee.number not in snapshot.retrained_trials:
        condition = shlex.quote(f"{snapshot.front.size} <= {knee.size}")
        yield Advice(
            f"Or train the knee of the front, trial {knee.number} ({knee.text}):",
            f"{retrain} --where {condition}",
        )
    if snapshot.cifar10 and snapshot.baseline is None:
        yield Advice(
            "Train the documents' run 10 on the same images, for a fair comparison:",
            baseline_command(snapshot.recipe, snapshot.openings[-1]),
        )


def at_edge(trial: TrialView, name: str) -> str:
    """``upper`` or ``lower`` if a number is at that end of its range; empty otherwise."""
    distribution, value = trial.distributions[name], trial.params[name]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return ""
    low, high = distribution.low, distribution.high
    # An end that means "none", such as a dropout of 0, has no values beyond it.
    if low >= high or isinstance(distribution, IntDistribution):
        return ""
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    place = (value - low) / (high - low)
    if place < EDGE and low != 0:
        return "lower"
    return "upper" if place > 1 - EDGE else ""


def _epochs_since_best(snapshot: Snapshot) -> int:
    best = snapshot.best
    assert best is not None
    assert best.best is not None
    reached = (best.number, best.best.epoch)
    place = snapshot.order.index(reached) if reached in snapshot.order else len(snapshot.order) - 1
    return len(snapshot.order) - 1 - place


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
