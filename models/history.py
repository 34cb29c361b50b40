"""The figures of a training, epoch by epoch, as plain values."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

MOST_EPOCHS = 100_000  # per training
E = TypeVar("E")


@dataclass(frozen=True)
class EpochFigures:
    """The figures of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean cross-entropy on the training images, in nats, without the L2 penalty and
            without label smoothing, as measured during the epoch (dropout on).
        accuracy: Share of training images classified correctly, 0 to 1, measured in the same way.
        val_loss: Mean cross-entropy on the validation images, in nats, without either.
        val_accuracy: Share of validation images classified correctly, 0 to 1.
        penalised_loss: ``loss`` with the L2 penalty and the smoothing, which the optimiser
            minimises. The report, which has no smoothing, calls it loss.
        penalised_val_loss: ``val_loss`` with the penalty at the end of the epoch. The report
            calls it val_loss.
        learning_rate: The rate the epoch was trained with; with a schedule, its first step's.
        seconds: Wall time of the epoch, validation included.
        val_macro_f1: Mean F1 score of the classes on the validation images, 0 to 1; None if the
            training does not watch it.
        val_auc: Mean area under the ROC curve of each class against the others, 0 to 1; None if
            the training does not watch it.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    penalised_loss: float
    penalised_val_loss: float
    learning_rate: float
    seconds: float
    val_macro_f1: float | None = None
    val_auc: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The figures by name."""
        return asdict(self)

    def measured(self) -> dict[str, float]:
        """The figures that were measured, by name, without the epoch."""
        figures = self.to_dict()
        return {name: value for name in REPORTED if (value := figures[name]) is not None}


REPORTED = tuple(field.name for field in fields(EpochFigures) if field.name != "epoch")
"""Names of the figures that training reports after each epoch."""

OF_PREDICTIONS = ("val_macro_f1", "val_auc")
"""Figures that a training reports only if it watches them."""

MAXIMISED = ("val_accuracy", *OF_PREDICTIONS)
"""Figures of which more is better: shares, 0 to 1."""


def objective(figures: Any, monitor: str) -> float:
    """What a study minimises: the monitored figure, or 1 minus it if more of it is better.

    NaN if it was not measured.

    Args:
        figures: An EpochFigures, or a row of a table with attributes of these names.
        monitor: Name of the monitored figure.
    """
    value = getattr(figures, monitor)
    if value is None:
        return math.nan
    return 1 - float(value) if monitor in MAXIMISED else float(value)


def objective_name(monitor: str) -> str:
    """The name of what a study minimises: ``val_loss``, or ``1 - val_accuracy``."""
    return f"1 - {monitor}" if monitor in MAXIMISED else monitor


def told_objective(value: float, monitor: str, *, name: bool = True) -> str:
    """A value that a study minimises as the monitored figure: ``val_accuracy 0.9344``."""
    figure = 1 - value if monitor in MAXIMISED else value
    return f"{monitor} {figure:.4f}" if name else f"{figure:.4f}"


def told_figures(figures: EpochFigures) -> str:
    """The validation figures of an epoch in one line."""
    names = ("val_loss", "val_accuracy", *OF_PREDICTIONS)
    values = ((name, getattr(figures, name)) for name in names)
    return "  ".join(f"{name} {value:.4f}" for name, value in values if value is not None)


def best_epoch(history: Sequence[E], monitor: str = "val_loss") -> E | None:
    """The epoch with the best finite monitored figure, the earliest of equals; None if none is.

    Args:
        history: The epochs in order; the figures of each as of ``objective``.
        monitor: Name of the monitored figure.
    """
    finite = [figures for figures in history if math.isfinite(objective(figures, monitor))]
    return min(finite, key=lambda figures: objective(figures, monitor), default=None)


def to_csv(history: Sequence[EpochFigures]) -> str:
    """The history as CSV text, one row per epoch, with a header: the figures that were measured."""
    text = io.StringIO()
    rows = [figures.to_dict() for figures in history]
    names = [field.name for field in fields(EpochFigures)]
    measured = [
        n for n in names if n not in OF_PREDICTIONS or any(row[n] is not None for row in rows)
    ]
    writer = csv.DictWriter(text, measured, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
