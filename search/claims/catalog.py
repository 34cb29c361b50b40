"""The report's claims about hyperparameters, each as a comparison.

A claim names what is compared (its arms) and by which figure of a training (its measure).
search/claims/verdicts.py does the statistics.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from search.claims import contrasts
from search.claims.contrasts import Arm

LAST = 3  # epochs to average over


class EpochLike(Protocol):
    """The figures of one epoch."""

    @property
    def accuracy(self) -> float:
        """Share of training images classified correctly, 0 to 1."""

    @property
    def val_loss(self) -> float:
        """Loss on the validation images, nats."""

    @property
    def val_accuracy(self) -> float:
        """Share of validation images classified correctly, 0 to 1."""


Measure = Callable[[Sequence[EpochLike]], float]


@dataclass(frozen=True)
class Contrast:
    """The outcome of one arm minus that of another.

    Attributes:
        label: What is compared, in a few words.
        this: Number of the first arm.
        that: Number of the arm that is subtracted.
        steps: Divisor of the difference.
    """

    label: str
    this: int
    that: int
    steps: float = 1.0


@dataclass(frozen=True)
class Claim:
    """A claim of the report.

    Attributes:
        name: One word.
        text: The claim.
        measured: The compared figure of a training.
        outcome: The figure in short, with its unit.
        unit: Unit of the effect.
        sign: 1 if the claim expects effects above zero, -1 if below.
        measure: Computes the outcome from a training's epochs up to a common one; NaN without any.
        arms: The arms; without any, each training is its own comparison.
        contrasts: The comparisons between arms.
        every: Whether every contrast has to support the claim, or one is enough.
        axis: The parameter along which trials are shown.
        caveat: A note for the reader.
    """

    name: str
    text: str
    measured: str
    outcome: str
    unit: str
    sign: int
    measure: Measure
    arms: tuple[Arm, ...] = ()
    contrasts: tuple[Contrast, ...] = (Contrast("second half of the epochs", 0, 0),)
    every: bool = True
    axis: str = ""
    caveat: str = ""


def _kept_accuracy(figures: Sequence[EpochLike]) -> float:
    """Validation accuracy, in per cent, at the lowest val_loss: that of the stored weights."""
    return 100 * min(figures, key=lambda e: e.val_loss).val_accuracy if figures else math.nan


def _overfitting(figures: Sequence[EpochLike]) -> float:
    """Rise of val_loss above its lowest, in nats: the median of the last epochs."""
    if not figures:
        return math.nan
    losses = [e.val_loss for e in figures]
    return statistics.median(losses[-LAST:]) - min(losses)


def _speed(figures: Sequence[EpochLike]) -> float:
    """Mean validation accuracy of the epochs, in per cent: the area under the curve."""
    if not figures:
        return math.nan
    return 100 * statistics.fmean(e.val_accuracy for e in figures)


def _second_half(figures: Sequence[EpochLike]) -> float:
    """Validation accuracy at the end minus that half-way, in per cent; over a few epochs each."""
    half = len(figures) // 2
    if half < 1:
        return math.nan
    few = min(LAST, half)
    accuracies = [100 * e.val_accuracy for e in figures]
    return statistics.fmean(accuracies[-few:]) - statistics.fmean(accuracies[half - few : half])


_POINTS = "points of validation accuracy"
_BEST = "validation accuracy of the epoch with the lowest val_loss"

CLAIMS = (
    Claim(
        name="batch",
        text="The larger the batch, the more the network stagnates.",
        measured=_BEST,
        outcome="validation accuracy, %",
        unit=f"{_POINTS} per doubling of the batch",
        sign=-1,
        measure=_kept_accuracy,
        arms=(contrasts.value("batch_size", 32), contrasts.value("batch_size", 256)),
        contrasts=(Contrast("a doubling between 32 and 256", 1, 0, steps=3),),
        axis="batch_size",
    ),
    Claim(
        name="filters",
        text="256 filters in the last convolution beat 128 and 512.",
        measured=_BEST,
        outcome="validation accuracy, %",
        unit=_POINTS,
        sign=1,
        measure=_kept_accuracy,
        arms=tuple(contrasts.value("last_filters", filters) for filters in (128, 256, 512)),
        contrasts=(Contrast("256 against 128", 1, 0), Contrast("256 against 512", 1, 2)),
        axis="last_filters",
    ),
    Claim(
        name="dropout",
        text="Dropout is the most effective measure against overfitting.",
        measured="overfitting: rise of val_loss above its lowest, when a measure is left out",
        outcome="rise of val_loss, nats",
        unit="nats of val_loss",
        sign=1,
        measure=_overfitting,
        arms=(
            Arm("no dropout", lambda p: contrasts.without_dropout(contrasts.regularised(p))),
            Arm("no L2", lambda p: contrasts.without_l2(contrasts.regularised(p))),
            Arm("no batch norm.", lambda p: {**contrasts.regularised(p), "batch_norm": False}),
        ),
        contrasts=(
            Contrast("dropout left out, against L2", 0, 1),
            Contrast("dropout left out, against batch norm.", 0, 2),
        ),
        axis="dropout_blocks",
        caveat="Not the gap between training and validation accuracy: training accuracy is "
        "measured with dropout on, which narrows the gap whether it helps or not.",
    ),
    Claim(
        name="helpers",
        text="L2 and batch normalisation help.",
        measured=_BEST,
        outcome="validation accuracy, %",
        unit=_POINTS,
        sign=1,
        measure=_kept_accuracy,
        arms=(
            Arm("with both", contrasts.regularised),
            Arm("no L2", lambda p: contrasts.without_l2(contrasts.regularised(p))),
            Arm("no batch norm.", lambda p: {**contrasts.regularised(p), "batch_norm": False}),
        ),
        contrasts=(Contrast("L2", 0, 1), Contrast("batch normalisation", 0, 2)),
        axis="l2_conv",
    ),
    Claim(
        name="epochs",
        text="The more epochs, the further the network gets.",
        measured="validation accuracy at the end minus that half-way, up to three epochs each",
        outcome="validation accuracy, %",
        unit=_POINTS,
        sign=1,
        measure=_second_half,
    ),
    Claim(
        name="rate",
        text="A larger learning rate does not always mean faster convergence.",
        measured="mean validation accuracy of all epochs",
        outcome="mean validation accuracy, %",
        unit=f"{_POINTS} per tenfold learning rate",
        sign=-1,
        measure=_speed,
        arms=tuple(contrasts.value("learning_rate", r, f"{r:g}") for r in (1e-4, 1e-3, 1e-2)),
        contrasts=(Contrast("0.001 against 0.0001", 1, 0), Contrast("0.01 against 0.001", 2, 1)),
        every=False,
        axis="learning_rate",
        caveat="One step up that slows convergence supports the claim; it is contradicted "
        "only if every step up speeds it up.",
    ),
    Claim(
        name="order",
        text="Training folder by folder beats training on all images together.",
        measured=_BEST,
        outcome="validation accuracy, %",
        unit=_POINTS,
        sign=1,
        measure=_kept_accuracy,
        arms=(
            contrasts.value(contrasts.ORDER, "together"),
            contrasts.value(contrasts.ORDER, "folders"),
        ),
        contrasts=(Contrast("folders against together", 1, 0),),
    ),
)
"""The claims, in the order of the report."""
