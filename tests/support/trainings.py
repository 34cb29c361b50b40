"""Trainings of small networks on small images."""

import shutil
from pathlib import Path

import keras
import numpy as np

from models.spec import Block, Dense, ModelSpec, TrainingSpec
from models.training import Training, fit
from tests.support.pictures import sets

NETWORK = ModelSpec(
    blocks=(Block(filters=4, dropout=0.2, l2=0.001),), dense=Dense(units=8, dropout=0.3)
)
TRAINING = TrainingSpec(batch_size=16, epochs=4, learning_rate=0.01)


class CopyAfter(keras.callbacks.Callback):  # type: ignore[misc]
    """Copies the checkpoint after an epoch: what a training broken off there leaves behind."""

    def __init__(self, epoch: int, checkpoint: Path, to: Path) -> None:
        super().__init__()
        self._epoch, self._checkpoint, self._to = epoch, checkpoint, to

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if epoch + 1 == self._epoch:
            shutil.copy(self._checkpoint, self._to)


def train(
    checkpoint: Path,
    network: ModelSpec = NETWORK,
    training: TrainingSpec = TRAINING,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    seed: int = 3,
) -> Training:
    return fit(network, training, sets(), seed=seed, checkpoint=checkpoint, callbacks=callbacks)


def curve(trained: Training) -> list[dict[str, float | None]]:
    """The figures but for the time they took."""
    return [{**f.to_dict(), "seconds": 0.0} for f in trained.history]


def broken_and_through(
    folder: Path, network: ModelSpec, training: TrainingSpec, after: int
) -> tuple[Training, Training]:
    """A training taken up again after an epoch, and the one that ran through.

    Its checkpoint is the through one's of that epoch. Those that a pause and a crash leave are
    taken up in tests of their own.
    """
    path, copy = folder / "through.npz", folder / "broken.npz"
    through = train(path, network, training, callbacks=(CopyAfter(after, path, copy),))
    return train(copy, network, training), through


def assert_the_same(mine: Training, other: Training) -> None:
    assert curve(mine) == curve(other)
    for one, another in zip(mine.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
