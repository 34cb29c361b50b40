"""The runs of the course project's report as specs, with their reported figures.

Source: the course project's report "Model S without data augmentation" (2024), ten training
runs on CIFAR-10 in the layout train/train1..train4, validation, test: 40,000, 10,000 and 10,000
images. Where the report omits a value, the entry's ``notes`` state the value used and why.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from models.spec import (
    Block,
    Dense,
    EarlyStopping,
    ModelSpec,
    ReduceLROnPlateau,
    TrainingSpec,
)


@dataclass(frozen=True)
class LoggedEpoch:
    """One epoch of a log in the report; its losses include the L2 penalty."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class DocumentedRun:
    """A training run of the report.

    Attributes:
        name: Its name on the command line.
        title: What was new in it.
        model: Its network.
        training: How it was trained.
        val_accuracy: Reported validation accuracy, None if there is none.
        test_accuracy: Reported test accuracy, None if there is none.
        first_epochs: The first epochs of its log, where the log starts with fresh weights.
        notes: Values that the report omits, and the values used here.
    """

    name: str
    title: str
    model: ModelSpec
    training: TrainingSpec
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    first_epochs: tuple[LoggedEpoch, ...] = ()
    notes: str = ""


BEST_TEST_ACCURACY = 0.8439
"""Test accuracy of the report's last run: the figure to beat."""

_NO_ROOM = (
    "Four valid convolutions with pooling need images of 46 pixels or more, and the report's "
    "IMG_SIZE is not stated: the network resizes its images to 64 first."
)


def _plain(last_filters: int) -> ModelSpec:
    """Run 1's network, without regularisation."""
    filters = (32, 64, 128, last_filters)
    return ModelSpec(
        blocks=tuple(Block(filters=f, padding="valid", batch_norm=False) for f in filters),
        dense=Dense(batch_norm=False),
        input_side=64,
    )


def _three_blocks(dropout: tuple[float, float, float], l2: float) -> ModelSpec:
    """Runs 4 and 5: L2 on the second and third convolution, 0.001 on the dense layer."""
    return ModelSpec(
        blocks=tuple(
            Block(filters=filters, dropout=rate, l2=strength)
            for filters, rate, strength in zip((32, 64, 128), dropout, (0.0, l2, l2), strict=True)
        ),
        dense=Dense(dropout=0.5, l2=0.001),
    )


_FOUR_BLOCKS = ModelSpec(
    blocks=tuple(
        Block(filters=filters, dropout=dropout, l2=0.001)
        for filters, dropout in ((32, 0.3), (64, 0.4), (128, 0.4), (256, 0.4))
    ),
    dense=Dense(dropout=0.5, l2=0.001),
)

_RUNS = (
    DocumentedRun(
        name="run-1",
        title="four convolutions, no regularisation",
        model=_plain(128),
        training=TrainingSpec(batch_size=128, epochs=50),
        val_accuracy=0.611,
        notes=f"{_NO_ROOM} Batch 128: its log has 313 steps an epoch.",
    ),
    DocumentedRun(
        name="run-1-512",
        title="run 1 with 512 filters in the last convolution",
        model=_plain(512),
        training=TrainingSpec(batch_size=128, epochs=50),
        notes=f"{_NO_ROOM} The report gives no figure: better, and overfitting.",
    ),
    DocumentedRun(
        name="run-1-256",
        title="run 1 with 256 filters in the last convolution",
        model=_plain(256),
        training=TrainingSpec(batch_size=128, epochs=50),
        val_accuracy=0.79,
        notes=f"{_NO_ROOM} The figure is the report's 'values of 79 of val_acc'.",
    ),
    DocumentedRun(
        name="run-4",
        title="batch normalisation, dropout and L2",
        model=_three_blocks((0.25, 0.25, 0.25), 0.001),
        training=TrainingSpec(batch_size=128, epochs=50, reduce_lr=ReduceLROnPlateau()),
        val_accuracy=0.742,
        first_epochs=(
            LoggedEpoch(1, 3.1427, 0.3482, 5.0835, 0.1382),
            LoggedEpoch(2, 2.5576, 0.4520, 2.5139, 0.4507),
            LoggedEpoch(3, 2.2575, 0.5102, 2.2980, 0.4719),
            LoggedEpoch(4, 2.0337, 0.5572, 1.9539, 0.5709),
            LoggedEpoch(5, 1.8790, 0.5807, 1.8758, 0.5774),
        ),
        notes="Batch 128: its log has 313 steps an epoch. The log's rate falls to 1e-4, so "
        "ReduceLROnPlateau was on; that EarlyStopping was is not shown.",
    ),
    DocumentedRun(
        name="run-5",
        title="run 4 with more dropout and more L2",
        model=_three_blocks((0.4, 0.5, 0.5), 0.01),
        training=TrainingSpec(batch_size=128, epochs=50, reduce_lr=ReduceLROnPlateau()),
        notes="The report gives no figure; batch size and callbacks as in run 4.",
    ),
    DocumentedRun(
        name="run-8",
        title="a fourth block of 256 filters, L2 everywhere",
        model=_FOUR_BLOCKS,
        training=TrainingSpec(batch_size=96, epochs=70),
        val_accuracy=0.7968,
        notes="70 epochs: the report sets run 10's 100 against them. Batch 96: run 6's log has "
        "417 steps an epoch, and nothing says that the batch size changed before run 8.",
    ),
    DocumentedRun(
        name="run-10",
        title="run 8 with EarlyStopping and ReduceLROnPlateau, 100 epochs",
        model=_FOUR_BLOCKS,
        training=TrainingSpec(
            batch_size=32,
            epochs=100,
            early_stopping=EarlyStopping(),
            reduce_lr=ReduceLROnPlateau(),
        ),
        val_accuracy=0.8435,
        test_accuracy=BEST_TEST_ACCURACY,
        first_epochs=(
            LoggedEpoch(1, 2.9140, 0.3518, 2.7124, 0.3726),
            LoggedEpoch(2, 2.1544, 0.4887, 2.0665, 0.4852),
            LoggedEpoch(3, 1.8887, 0.5470, 1.8090, 0.5859),
            LoggedEpoch(4, 1.7853, 0.5810, 1.8056, 0.5750),
            LoggedEpoch(5, 1.7666, 0.6015, 2.1665, 0.5122),
        ),
    ),
)

DOCUMENTED = {run.name: run for run in _RUNS}
"""The documents' runs by name."""

CIFAR_CLASSES = {
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
}


def are_of_cifar10(classes: Iterable[str]) -> bool:
    """Whether the classes are those of CIFAR-10, which the figures here belong to."""
    return set(classes) == CIFAR_CLASSES
