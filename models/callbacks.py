"""Keras callbacks: figures, resuming, moving averages, checkpoints."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.checkpoint import Checkpoint, restore_state, state_of
from models.errors import ModelError
from models.evaluation import OF_PREDICTIONS
from models.history import EpochFigures, best_epoch
from models.pipeline import Images, TrainingBatches


class DivergedError(ModelError):
    """A figure to minimise or maximise became NaN or infinite; the message says which."""


class Predictions:
    """The predictions of the validation during a training, for a figure that needs all of them.

    Args:
        split: The validation images.
        classes: Number of classes.
        figure: Name of the figure, one of ``models.history.OF_PREDICTIONS``.
    """

    def __init__(self, split: Images, classes: int, figure: str) -> None:
        self._labels = np.asarray(split.labels)
        self._figure = figure
        self._probabilities = tf.Variable(
            tf.zeros((len(self._labels), classes)), trainable=False, name="predictions"
        )
        self._seen = tf.Variable(0, trainable=False, name="seen")

    def reset(self) -> None:
        """Forget all."""
        self._seen.assign(0)

    def add(self, probabilities: tf.Tensor) -> None:
        """Add those of the next batch, (images, classes); part of the graph."""
        count = tf.shape(probabilities)[0]
        rows = (self._seen + tf.range(count))[:, None]
        values = tf.cast(probabilities, self._probabilities.dtype)
        self._probabilities.scatter_nd_update(rows, values)
        self._seen.assign_add(count)

    def figures(self) -> dict[str, float]:
        """The figure, by its name."""
        probabilities = self._probabilities.numpy().astype(np.float64)
        return {self._figure: OF_PREDICTIONS[self._figure](probabilities, self._labels)}


class RecordFigures(keras.callbacks.Callback):  # type: ignore[misc]
    """The first callback: sets the epoch's order, and names the logs as in EpochFigures."""

    def __init__(self, batches: TrainingBatches, predictions: "Predictions | None" = None) -> None:
        """``predictions`` on the validation images, if the training watches a figure of them."""
        super().__init__()
        self._batches = batches
        self._predictions = predictions

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget the predictions of the epoch before."""
        if self._predictions is not None:
            self._predictions.reset()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the order of the epoch's images, and start timing."""
        # Keras creates an epoch's iterator after this; one created ahead is discarded.
        self._batches.epoch = epoch + 1
        self._started = time.perf_counter()
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
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
            **({} if self._predictions is None else self._predictions.figures()),
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

    def __init__(self, path: Path, saved: Checkpoint | None, monitor: str = "val_loss") -> None:
        super().__init__()
        self._path = path
        self._monitor = monitor
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
        if best_epoch(self.history, self._monitor) is figures:
            # Copies: numpy() may show the variable's own memory, which training writes to.
            self.best = self.tested or [weight.numpy().copy() for weight in self.model.weights]
        Checkpoint(
            history=self.figures,
            finished=self.model.stop_training,
            state=state_of(self.model),
            best=self.best,
        ).save(self._path)
