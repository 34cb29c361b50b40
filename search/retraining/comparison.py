"""Retrained configurations side by side: the best one, and whether the search ranked them right."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from optuna.trial import FrozenTrial
from rich.table import Table

from models.history import OF_PREDICTIONS, objective, told_objective
from search.console.text import plural
from search.intervals import Spread, of_difference_of_means
from search.study.trials import lowest
from storage.tables import ModelRow


@dataclass(frozen=True)
class Retrained:
    """A configuration that was trained in full.

    Attributes:
        trial: Number of its trial.
        search_rank: Its rank in the search among the retrained trials, from 1.
        search_loss: The trial's lowest objective: val_loss, or 1 minus the monitored figure.
        search_epochs: Epochs of the trial.
        rank: Its rank by mean objective after retraining, from 1; configurations with a failed
            seed come last.
        seeds: Number of seeds trained to the end.
        failed: Number of seeds that failed.
        val_loss: At each training's best epoch, in nats.
        val_accuracy: At the same epoch, 0 to 1.
        test_accuracy: With the same weights, 0 to 1.
        monitored: The monitored figure at the same epoch.
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
    monitored: Spread


@dataclass(frozen=True)
class Report:
    """The results of retraining.

    Attributes:
        configurations: The retrained configurations, best first.
        pairs: Number of pairs whose order can be compared with the search's.
        flips: Number of those pairs with the opposite order.
        lead: Difference in the mean objective between first and second; None if there is no
            second.
        interval: The 95 % interval of that lead, Welch's; None if one of the two has one seed.
        failures: Failed trainings with their reasons, one per line.
        model: The best single model: the first configuration's with the lowest objective.
        monitor: The figure that the study selects by.
    """

    configurations: tuple[Retrained, ...]
    pairs: int
    flips: int
    lead: float | None
    interval: tuple[float, float] | None
    failures: tuple[str, ...]
    model: ModelRow
    monitor: str = "val_loss"

    @property
    def apart(self) -> bool | None:
        """Whether first and second can be told apart; None if unknown."""
        return None if self.interval is None else self.interval[0] > 0


def compare(
    trials: Sequence[FrozenTrial],
    rows: Sequence[ModelRow],
    failed: Sequence[int | None] = (),
    failures: Sequence[str] = (),
    monitor: str = "val_loss",
) -> Report:
    """Compare the retrained trials.

    Args:
        trials: The trials, best first in the search.
        rows: The models; at least one.
        failed: The trial of each failed training.
        failures: The reason for each.
        monitor: The figure that the study selects by.
    """

    def loss(row: ModelRow) -> float:
        return objective(row, monitor)

    of = {trial.number: [row for row in rows if row.trial == trial.number] for trial in trials}
    kept = [trial for trial in trials if of[trial.number]]

    def rank(trial: FrozenTrial) -> tuple[bool, float]:
        return trial.number in failed, statistics.fmean(map(loss, of[trial.number]))

    ranked = sorted(kept, key=rank)
    first, *others = [list(map(loss, of[trial.number])) for trial in ranked]
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
                val_loss=Spread.of([row.val_loss for row in of[trial.number]]),
                val_accuracy=Spread.of([row.val_accuracy for row in of[trial.number]]),
                test_accuracy=Spread.of([row.test_accuracy for row in of[trial.number]]),
                monitored=Spread.of([getattr(row, monitor) for row in of[trial.number]]),
            )
            for place, trial in enumerate(ranked)
        ),
        pairs=len(pairs),
        flips=sum(ranked.index(worse) < ranked.index(better) for better, worse in pairs),
        lead=statistics.fmean(others[0]) - statistics.fmean(first) if others else None,
        interval=of_difference_of_means(others[0], first) if others else None,
        failures=tuple(failures),
        model=min(of[ranked[0].number], key=loss),
        monitor=monitor,
    )


def table(report: Report) -> Table:
    """The configurations for a terminal, in 80 columns, best first; figures over the seeds."""
    drawn = Table(box=None, padding=(0, 0, 0, 2))
    drawn.add_column("trial", justify="right", no_wrap=True)
    watched = report.monitor in OF_PREDICTIONS
    first = report.monitor if watched else "val_loss"
    for heading in ("search", "rank", first, "val_acc", "test_acc"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in report.configurations:
        searched = told_objective(row.search_loss, report.monitor, name=False)
        drawn.add_row(
            str(row.trial),
            f"{searched} ({row.search_epochs})",
            f"{row.search_rank} → {row.rank}",
            str(row.monitored if watched else row.val_loss),
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
        f"{names} {word} be told apart: {report.lead:.4f} apart in {report.monitor}, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )
    return lines
