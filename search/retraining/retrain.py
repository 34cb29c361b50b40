"""Retrains the study's best trials in full with several seeds, and delivers the best model.

The best is chosen on the validation images. The test images are used once per model, and not for
choosing.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from rich.table import Table

from data.dataset import Dataset
from models.spec import EarlyStopping, ReduceLROnPlateau, estimate_memory
from search.console.text import plural
from search.errors import NothingToTrainError, TrainingFailedError
from search.intervals import of_difference_of_means
from search.protocol import Failed
from search.retraining.card import card
from search.retraining.delivery import Delivery
from search.scheduling.samplers import trial_seed
from search.spaces.builtin import Space
from search.study.training_order import TrainingOrder
from search.study.trials import lowest, seed_number
from search.study.workspace import is_of_cifar10
from storage.files import Layout, RunFiles, write_atomically
from storage.study import MADE_WITH
from storage.tables import ModelRow


@dataclass(frozen=True)
class Spread:
    """Mean and spread of a figure over seeds.

    Attributes:
        mean: Its mean.
        deviation: Its standard deviation (of the sample, n - 1); None with one seed.
    """

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.deviation is None else f" ± {self.deviation:.4f}")


@dataclass(frozen=True)
class Retrained:
    """A configuration that was trained in full.

    Attributes:
        trial: Number of its trial.
        search_rank: Its rank in the search among the retrained trials, from 1.
        search_loss: The trial's lowest val_loss.
        search_epochs: Epochs of the trial.
        rank: Its rank by mean val_loss after retraining, from 1; configurations with a failed seed
            come last.
        seeds: Number of seeds trained to the end.
        failed: Number of seeds that failed.
        val_loss: At each training's best epoch, in nats.
        val_accuracy: At the same epoch, 0 to 1.
        test_accuracy: With the same weights, 0 to 1.
    """

    trial: int
    search_rank: int
    search_loss: float
    search_epochs: int
    rank: int
    seeds: int
    failed: int
    val_loss: Spread
    val_accuracy: Spread
    test_accuracy: Spread


@dataclass(frozen=True)
class Report:
    """The results of retraining.

    Attributes:
        configurations: The retrained configurations, best first.
        pairs: Number of pairs whose order can be compared with the search's.
        flips: Number of those pairs with the opposite order.
        lead: Difference in mean val_loss between first and second; None if there is no
            second.
        interval: The 95 % interval of that lead, Welch's; None if one of the two has one seed.
        failures: Failed trainings with their reasons, one per line.
        model: The delivered model: the first configuration's model with the lowest val_loss.
    """

    configurations: tuple[Retrained, ...]
    pairs: int
    flips: int
    lead: float | None
    interval: tuple[float, float] | None
    failures: tuple[str, ...]
    model: ModelRow

    @property
    def apart(self) -> bool | None:
        """Whether first and second can be told apart; None if unknown."""
        return None if self.interval is None else self.interval[0] > 0


def orders_of_best(
    study: optuna.Study, space: Space, *, epochs: int, top: int = 1, seeds: int = 1
) -> list[TrainingOrder]:
    """Orders to retrain the best ``top`` trials, each with ``seeds`` seeds.

    The best trials have the lowest loss at any epoch, whatever ended them. The first seed is the
    trial's own: same initial weights, same order of images.

    Args:
        study: The study.
        space: Its search space.
        epochs: Maximum epochs of each training.
        top: Number of trials.
        seeds: Number of seeds.

    Raises:
        NothingToTrainError: No trial has a finite loss.
    """
    best = sorted(study.get_trials(deepcopy=False), key=lowest)[:top]
    best = [trial for trial in best if math.isfinite(lowest(trial))]
    if not best:
        raise NothingToTrainError(
            f"study {study.study_name!r} has no complete trial to retrain: "
            "resume the search first (make search)"
        )
    # Seed by seed, so that after an early end all trials have about as many seeds.
    return [_order(study, space, trial, epochs, again) for again in range(seeds) for trial in best]


def memory_needed(orders: Sequence[TrainingOrder], data: Dataset) -> int:
    """Bytes that the largest of the trainings needs; 0 if unknown."""
    shape, classes = data.input_shape, len(data.classes)
    return max(estimate_memory(o.model, shape, classes, o.training.batch_size) for o in orders)


def _order(
    study: optuna.Study, space: Space, trial: FrozenTrial, epochs: int, again: int
) -> TrainingOrder:
    model, training = space.specs(trial.params)
    training = training.model_copy(
        update={
            "epochs": epochs,
            "early_stopping": EarlyStopping(patience=10),
            "reduce_lr": ReduceLROnPlateau(factor=0.1, patience=5, min_lr=1e-6),
        }
    )
    return TrainingOrder(
        study=study.study_name,
        kind="retrain",
        name=f"trial-{trial.number:05d}-retrained",
        title=f"trial {trial.number} retrained" + (f", seed {again + 1}" if again else ""),
        model=model,
        training=training,
        seed=_seed(int(study.user_attrs[MADE_WITH]["seed"]), seed_number(trial), again),
        trial=trial.number,
    )


def _seed(seed: int, number: int, again: int) -> int:
    """The trial's own seed first, then others, distinct from all trial seeds."""
    if not again:
        return trial_seed(seed, number)
    return int(np.random.SeedSequence((seed, number, again)).generate_state(1)[0])


def retrain(
    workshop: Delivery,
    study: optuna.Study,
    data: Dataset,
    layout: Layout,
    orders: Sequence[TrainingOrder],
) -> Report | None:
    """Train orders of ``orders_of_best``, compare them, and deliver the best one.

    Returns:
        The report; None if a training was interrupted. The same call resumes it.

    Raises:
        TrainingFailedError: All trainings failed, or none can continue.
    """
    places = [layout.run(study.study_name, order.run(data)) for order in orders]
    made = workshop.make_all(list(zip(orders, places, strict=True)), data)
    if None in made:
        return None
    rows = [row for row in made if isinstance(row, ModelRow)]
    failures = tuple(
        f"{order.title}: {end.reason}"
        for order, end in zip(orders, made, strict=True)
        if isinstance(end, Failed)
    )
    if not rows:
        raise TrainingFailedError(failures[0])
    trials = study.get_trials(deepcopy=False)
    numbers = list(dict.fromkeys(order.trial for order in orders))
    failed = [o.trial for o, end in zip(orders, made, strict=True) if isinstance(end, Failed)]
    report = compare([trials[n] for n in numbers if n is not None], rows, failed, failures)
    best = layout.best(study.study_name)
    _hand_over(layout.run(study.study_name, report.model.run), best)
    page = card(report, verdict(report), data, best, cifar10=is_of_cifar10(study))
    write_atomically(best.card, page)
    return report


def compare(
    trials: Sequence[FrozenTrial],
    rows: Sequence[ModelRow],
    failed: Sequence[int | None] = (),
    failures: Sequence[str] = (),
) -> Report:
    """Compare the retrained trials.

    Args:
        trials: The trials, best first in the search.
        rows: The models; at least one.
        failed: The trial of each failed training.
        failures: The reason for each.
    """
    of = {trial.number: [row for row in rows if row.trial == trial.number] for trial in trials}
    kept = [trial for trial in trials if of[trial.number]]

    def rank(trial: FrozenTrial) -> tuple[bool, float]:
        return trial.number in failed, statistics.fmean(r.val_loss for r in of[trial.number])

    ranked = sorted(kept, key=rank)
    first, *others = [[row.val_loss for row in of[trial.number]] for trial in ranked]
    pairs = list(combinations(kept, 2))
    return Report(
        configurations=tuple(
            Retrained(
                trial=trial.number,
                search_rank=1 + kept.index(trial),
                search_loss=lowest(trial),
                search_epochs=len(trial.intermediate_values),
                rank=1 + place,
                seeds=len(of[trial.number]),
                failed=list(failed).count(trial.number),
                val_loss=_spread([row.val_loss for row in of[trial.number]]),
                val_accuracy=_spread([row.val_accuracy for row in of[trial.number]]),
                test_accuracy=_spread([row.test_accuracy for row in of[trial.number]]),
            )
            for place, trial in enumerate(ranked)
        ),
        pairs=len(pairs),
        flips=sum(ranked.index(worse) < ranked.index(better) for better, worse in pairs),
        lead=statistics.fmean(others[0]) - statistics.fmean(first) if others else None,
        interval=of_difference_of_means(others[0], first) if others else None,
        failures=tuple(failures),
        model=min(of[ranked[0].number], key=lambda row: row.val_loss),
    )


def table(report: Report) -> Table:
    """The configurations for a terminal, in 80 columns, best first; figures over the seeds."""
    drawn = Table(box=None, padding=(0, 0, 0, 2))
    drawn.add_column("trial", justify="right", no_wrap=True)
    for heading in ("search", "rank", "val_loss", "val_acc", "test_acc"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in report.configurations:
        drawn.add_row(
            str(row.trial),
            f"{row.search_loss:.4f} ({row.search_epochs})",
            f"{row.search_rank} → {row.rank}",
            str(row.val_loss),
            str(row.val_accuracy),
            str(row.test_accuracy),
        )
    return drawn


def verdict(report: Report) -> list[str]:
    """Results of the comparison, one per line; empty if there was nothing to compare."""
    lines = [f"failed: {line}" for line in report.failures]
    if report.lead is None:
        return lines
    first, second = report.configurations[:2]
    pairs = plural(report.pairs, "pair")
    lines.append(f"rank flips between search and full length: {report.flips} of {pairs}")
    names = f"trial {first.trial} and trial {second.trial}"
    if report.interval is None:
        lines.append(f"{names}: one seed cannot show which is better; try --seeds 3")
        return lines
    low, high = report.interval
    word = "can" if report.apart else "cannot"
    lines.append(
        f"{names} {word} be told apart: {report.lead:.4f} apart in val_loss, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )
    return lines


def _spread(values: Sequence[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation)


def _hand_over(made: RunFiles, best: RunFiles) -> None:
    """Copy a model with its files; the model last, because it makes the others valid."""
    for source, target in (
        (made.history, best.history),
        (made.curves, best.curves),
        (made.confusion, best.confusion),
        (made.tested, best.tested),
        (made.mistakes, best.mistakes),
        (made.spec, best.spec),
        (made.model, best.model),
    ):
        if source.exists():
            write_atomically(target, source.read_bytes())
        else:  # from before treino stored test results
            target.unlink(missing_ok=True)
