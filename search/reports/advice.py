"""Derives advice on what to try next from a study, with the figures behind it."""

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from optuna.distributions import FloatDistribution, IntDistribution

from search.study.snapshot import Snapshot, TrialView

EDGE = 0.05  # of a range: a best value nearer to its end is said to lie there
GAP = 0.08  # of accuracy between training and validation: from here on it is called overfitting
FLAT = 0.4  # of the epochs, spent without a better loss: from here on the search is called flat


@dataclass(frozen=True)
class Advice:
    """A sentence for people, and the command it comes to, if it comes to one."""

    text: str
    command: str = ""


def advice(seen: Snapshot) -> list[Advice]:
    """What to try next, the most useful first."""
    return [*_going_on(seen), *_of_the_best(seen), *_handing_over(seen)]


def _going_on(seen: Snapshot) -> Iterator[Advice]:
    failed = len(seen.of_state("failed"))
    if failed and failed * 2 >= len(seen.trials):
        yield Advice(
            f"{failed} of {len(seen.trials)} trials failed: check the reasons below and "
            f"var/{seen.study}/logs/ before resuming the search."
        )
    waiting = seen.of_state("paused")
    if seen.searching:
        yield Advice("A search is running on this study: write the report again when it has ended.")
    elif waiting:
        one = len(waiting) == 1
        yield Advice(
            f"{len(waiting)} trial{' is' if one else 's are'} paused: run the same search command "
            f"to resume {'it' if one else 'them'}."
        )
    elif not seen.trials:
        yield Advice("No trial has started yet: run the command below to start the search.")
    if seen.best is None or len(seen.trials) < 10:
        return
    since = _epochs_since_best(seen)
    if since > FLAT * seen.spent:
        yield Advice(
            f"The last {since} of {seen.spent} epochs brought no improvement: more trials in "
            "the same space are unlikely to help. Try another space, or retrain the best trial."
        )
    elif since < seen.spent / 10:
        yield Advice(
            f"The best {seen.monitor} is from the last {since + 1} of {seen.spent} epochs: "
            "the search is not flat yet, and more trials (TRIALS=) are likely to find a better one."
        )


def _of_the_best(seen: Snapshot) -> Iterator[Advice]:
    if seen.best is None or seen.best.best is None:
        return
    for name in seen.best.params:
        end = at_edge(seen.best, name)
        if end:
            yield Advice(
                f"The best trial has {name} {_shown(seen.best.params[name])}, at the {end} end of "
                "its range: better values may lie outside it."
            )
    figures = seen.best.best
    if figures.epoch == seen.epochs:
        yield Advice(
            f"The best trial was still improving at its last epoch, {seen.epochs}: try a "
            "study with more EPOCHS=."
        )
    gap = figures.accuracy - figures.val_accuracy
    if gap > GAP:
        yield Advice(
            f"The best trial overfits: accuracy {figures.accuracy:.3f} on the training images, "
            f"{figures.val_accuracy:.3f} on the validation images. Try more images, dropout "
            "or L2."
        )


def _handing_over(seen: Snapshot) -> Iterator[Advice]:
    retrain = f"make retrain-best STUDY={shlex.quote(seen.study)}"
    if seen.best is not None and seen.retrained is None:
        yield Advice("Train the best trial in full and test it on the test images:", retrain)
    elif seen.best is not None and seen.retrained and seen.retrained.trial != seen.best.number:
        yield Advice(
            f"The delivered model is from trial {seen.retrained.trial}, and trial "
            f"{seen.best.number} is better now:",
            retrain,
        )
    if seen.cifar10 and seen.baseline is None:
        data = seen.made_by[0]["data"]
        yield Advice(
            "Train the documents' run 10 on the same images, for a fair comparison:",
            f"make baseline RUN=run-10 DATA={shlex.quote(data)}",
        )


def at_edge(trial: TrialView, name: str) -> str:
    """``upper`` or ``lower`` where a number lies at that end of its range; empty elsewhere."""
    distribution, value = trial.distributions[name], trial.params[name]
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return ""
    low, high = distribution.low, distribution.high
    # An end that means "none at all", such as a dropout of 0, has nothing beyond it.
    if low >= high or isinstance(distribution, IntDistribution):
        return ""
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    place = (value - low) / (high - low)
    if place < EDGE and low != 0:
        return "lower"
    return "upper" if place > 1 - EDGE else ""


def _epochs_since_best(seen: Snapshot) -> int:
    best = seen.best
    assert best is not None
    assert best.best is not None
    reached = (best.number, best.best.epoch)
    place = seen.order.index(reached) if reached in seen.order else len(seen.order) - 1
    return len(seen.order) - 1 - place


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
