"""The figures of a training, epoch by epoch, as plain values."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

MOST_EPOCHS = 100_000  # per training


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

    def to_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


REPORTED = tuple(field.name for field in fields(EpochFigures) if field.name != "epoch")
"""Names of the figures that training reports after each epoch."""


def best_epoch(history: Sequence[EpochFigures]) -> EpochFigures | None:
    """The epoch with the lowest finite val_loss, the earliest of equals; None if there is none."""
    finite = [figures for figures in history if math.isfinite(figures.val_loss)]
    return min(finite, key=lambda figures: figures.val_loss, default=None)


def to_csv(history: Sequence[EpochFigures]) -> str:
    """The history as CSV text, one row per epoch, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochFigures)])
    writer.writeheader()
    writer.writerows(figures.to_dict() for figures in history)
    return text.getvalue()
