"""Keras callbacks: figures, resuming, moving averages, checkpoints."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from models.checkpoint import Checkpoint, restore_state, state_of
from models.errors import ModelError
from models.history import EpochFigures, best_epoch
from models.pipeline import TrainingBatches


class DivergedError(ModelError):
    """val_loss became NaN or infinite; the message names the epoch."""


class RecordFigures(keras.callbacks.Callback):  # type: ignore[misc]
    """The first callback: sets the epoch's order, and names the logs as in EpochFigures."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the order of the epoch's images, and start timing."""
        # Keras creates an epoch's iterator after this; one created ahead is discarded.
        self._batches.epoch = epoch + 1
        self._started = time.perf_counter()
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Turn Keras's logs into an epoch's figures; DivergedError if val_loss is not finite."""
        assert logs is not None
        # The penalty of the weights. Losses that layers add in calls are in the training loss.
        weights = [v for v in self.model.trainable_weights if v.regularizer is not None]
        penalty = float(sum(v.regularizer(v) for v in weights)) if weights else 0.0
        figures = EpochFigures(
            epoch=epoch + 1,
            loss=logs["cross_entropy"],
            accuracy=logs["accuracy"],
            val_loss=logs["val_loss"],
            val_accuracy=logs["val_accuracy"],
            penalised_loss=logs["loss"],
            penalised_val_loss=logs["val_loss"] + penalty,
            learning_rate=self._learning_rate,
            seconds=time.perf_counter() - self._started,
        )
        logs.clear()
        logs.update(figures.to_dict())
        if not math.isfinite(figures.val_loss):
            raise DivergedError(f"val_loss is {figures.val_loss} after epoch {figures.epoch}")


class Resume(keras.callbacks.Callback):  # type: ignore[misc]
    """Restores a fresh model and the callbacks that control it from the checkpoint."""

    def __init__(
        self, saved: Checkpoint | None, steering: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self._saved = saved
        self._steering = steering

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Restore the checkpoint, if there is one."""
        if self._saved is None:
            return
        # Callbacks derive their state from the figures. Replaying these restores it, whatever
        # it is. Their on_train_begin has just reset them, and the learning rate is still the
        # initial one.
        for figures in self._saved.history:
            for callback in self._steering:
                callback.on_epoch_end(figures.epoch - 1, figures.to_dict())
        restore_state(self.model, self._saved.state)


class UseAverages(keras.callbacks.Callback):  # type: ignore[misc]
    """Validates and keeps the moving averages of the weights if the optimiser has them.

    Keras's fit ends with the averages. Training continues with the weights themselves, exactly.
    """

    def __init__(self, keeper: "KeepCheckpoint") -> None:
        super().__init__()
        self._keeper = keeper

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Swap the averages in for the weights."""
        self._weights = [v.numpy().copy() for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Keep the averages, and restore the weights."""
        self._keeper.tested = [weight.numpy().copy() for weight in self.model.weights]
        for variable, weight in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(weight)


class KeepCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the history, the best weights and the checkpoint.

    Attributes:
        history: The figures of every epoch so far.
        best: The weights of the best epoch.
        finished: Whether a callback had ended the training.
        tested: The weights that were validated, if they are not the model's.
    """

    def __init__(self, path: Path, saved: Checkpoint | None) -> None:
        super().__init__()
        self._path = path
        self.history = list(saved.history) if saved else []
        self.best: Sequence[npt.NDArray[Any]] = saved.best if saved else ()
        self.finished = saved.finished if saved else False
        self.tested: Sequence[npt.NDArray[Any]] = ()

    @property
    def figures(self) -> tuple[EpochFigures, ...]:
        """The history so far."""
        return tuple(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the checkpoint."""
        figures = EpochFigures(**logs)  # type: ignore[arg-type]
        self.history.append(figures)
        if best_epoch(self.history) is figures:
            # Copies: numpy() may show the variable's own memory, which training writes to.
            self.best = self.tested or [weight.numpy().copy() for weight in self.model.weights]
        Checkpoint(
            history=self.figures,
            finished=self.model.stop_training,
            state=state_of(self.model),
            best=self.best,
        ).save(self._path)
