"""Train a spec: seeds, batches, callbacks, checkpoints and the result.

val_loss, here and everywhere in treino, is the mean cross-entropy on the validation images,
without the L2 penalty (see ``DataLossModel``) and without label smoothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.callbacks import (
    DivergedError,
    KeepCheckpoint,
    Predictions,
    RecordFigures,
    Resume,
    UseAverages,
)
from models.checkpoint import load_newest
from models.compilation import DataLossModel, compile_model, has_averages, norm_momentum
from models.evaluation import Mistake, most_confident_mistakes
from models.history import MAXIMISED, OF_PREDICTIONS, EpochFigures, best_epoch
from models.network import build
from models.own_call import sample
from models.own_classifier import OwnNetwork
from models.own_network import build as build_own
from models.own_source import keras_settings_kept
from models.own_view import described
from models.pipeline import Images, TrainingBatches, evaluation_batches
from models.spec import ModelSpec, OwnSpec, TrainingSpec


class Data(Protocol):
    """A data set as training needs it."""

    @property
    def train(self) -> Images:
        """Images to train on."""

    @property
    def validation(self) -> Images:
        """Images to select models by."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""


@dataclass(frozen=True)
class Training:
    """The result of a training.

    Attributes:
        model: The network with the weights of its best epoch, ready to save: stock Keras without
            custom objects, float32 whatever the training's precision.
        history: The figures of every epoch.
        best: The epoch with the best monitored figure, whose weights ``model`` has.
    """

    model: keras.Model
    history: tuple[EpochFigures, ...]
    best: EpochFigures


@dataclass(frozen=True)
class OwnBuilt:
    """What is known of a user's own network once it is built; JSON-compatible.

    Attributes:
        described: How it is trained and loaded (``described``).
        attributes: What the user's code has set on its trial, by name.
    """

    described: Mapping[str, Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Results of a network on images that it was not trained on.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share classified correctly, 0 to 1.
        confusion: (classes, classes) counts: rows are true classes, columns predicted ones.
        mistakes: The misclassified images with the highest predicted probability.
    """

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.int64]
    mistakes: tuple[Mistake, ...]


@keras_settings_kept()  # a user's code may set them for its own network
def fit(
    model_spec: ModelSpec | OwnSpec,
    training_spec: TrainingSpec,
    data: Data,
    *,
    seed: int,
    checkpoint: Path,
    number: int = 0,
    built: Callable[[keras.Model, OwnBuilt | None], None] = lambda _network, _own: None,
    resumed: Callable[[tuple[EpochFigures, ...], bool], None] = lambda _history, _last: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Training:
    """Train a network, from ``checkpoint`` if it exists, and write it after each epoch.

    The same arguments on the same kind of machine give the same curve, bit for bit, however often
    the training was interrupted and resumed.

    Args:
        model_spec: The network.
        training_spec: How to train it.
        data: The images.
        seed: Seed of initial weights, dropout and the order of images; 0 to 2**32 - 1.
        checkpoint: File with the state of the training.
        number: Number of the trial, for a user's own network.
        built: Called first, with the network, and with what is known of it if it is the user's
            own, else None. It may raise to refuse.
        resumed: Called once before training with the figures of the epochs in ``checkpoint``, and
            whether the training is complete. It may raise to refuse.
        callbacks: Further callbacks. They are called once an epoch's checkpoint is on disk, with
            logs named as in EpochFigures. One that sets ``model.stop_training`` pauses the
            training.

    Raises:
        SpecError: The network does not fit the images.
        OwnPrunedError: The user's code prunes the trial.
        OwnCodeError: The user's code fails, or builds what cannot be trained here.
        CheckpointError: The checkpoint belongs to another network.
        CheckpointWriteError: The checkpoint cannot be written.
        DivergedError: An epoch's val_loss is not finite, or the monitored figure at no epoch.
    """
    keras.utils.set_random_seed(seed)
    shape, classes = data.train.images.shape[1:], len(data.classes)
    steps = math.ceil(len(data.train.labels) / training_spec.batch_size)
    own: OwnNetwork | None = None
    if isinstance(model_spec, OwnSpec):
        own = build_own(model_spec, shape, classes, lambda: sample(data.train), number)
        network = own.model
        training_spec = training_spec.model_copy(update={"label_smoothing": own.label_smoothing})
    else:
        network = build(
            model_spec,
            shape,
            classes,
            training_spec.precision,
            fused=True,
            momentum=norm_momentum(steps),
        )
    model = DataLossModel(network.inputs, network.outputs)
    predictions = None
    if training_spec.monitor in OF_PREDICTIONS:
        predictions = Predictions(data.validation, classes, training_spec.monitor)
        model.validated = predictions.add
    compile_model(model, training_spec, steps)
    if own and own.optimizer is not None:
        model.optimizer = own.optimizer
    built(
        network,
        OwnBuilt(described(network, model.optimizer, own.loss), own.attributes) if own else None,
    )
    model.optimizer.build(model.trainable_variables)

    saved = load_newest(checkpoint)
    keeper = KeepCheckpoint(checkpoint, saved, training_spec.monitor)
    ended = keeper.finished or len(keeper.history) >= training_spec.epochs
    resumed(keeper.figures, ended)
    if not ended:
        batches = TrainingBatches(
            data.train,
            training_spec.batch_size,
            seed=seed,
            by_parts=training_spec.train_order == "folders",
            augment=training_spec.augment,
        )
        recipe = _recipe(training_spec, model.optimizer)
        averages = [UseAverages(keeper)] if has_averages(model.optimizer) else []
        model.fit(
            batches.dataset,
            epochs=training_spec.epochs,
            initial_epoch=len(keeper.history),
            shuffle=False,  # TrainingBatches does it
            validation_data=evaluation_batches(data.validation),
            class_weight=_class_weights(training_spec, data.train, classes),
            callbacks=[
                RecordFigures(batches, predictions),
                *recipe,
                Resume(saved, recipe),
                *averages,
                keeper,
                *callbacks,
            ],
            verbose=0,
        )
    best = best_epoch(keeper.figures, training_spec.monitor)
    if best is None:
        raise DivergedError(f"no epoch had a finite {training_spec.monitor}")
    if not isinstance(model_spec, OwnSpec):
        network = build(model_spec, shape, classes)  # of stock layers, in float32
    network.set_weights(keeper.best)
    # For evaluate(): with a stateless optimiser the file holds only the network, and Keras loads
    # it without a warning about missing optimiser state.
    network.compile(
        "sgd",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        auto_scale_loss=False,
    )
    return Training(network, keeper.figures, best)


@keras_settings_kept()
def untrained(model_spec: ModelSpec | OwnSpec, data: Data, number: int = 0) -> keras.Model:
    """The network that ``fit`` returns, untrained. Arguments and errors as of ``fit``."""
    shape, classes = data.train.images.shape[1:], len(data.classes)
    if isinstance(model_spec, OwnSpec):
        return build_own(model_spec, shape, classes, lambda: sample(data.train), number).model
    return build(model_spec, shape, classes)


def evaluate(model: keras.Model, split: Images) -> Evaluation:
    """Classify every image of ``split``."""
    return evaluation_of(classify(model, split), np.asarray(split.labels))


def classify(model: keras.Model, split: Images) -> npt.NDArray[np.float64]:
    """Probabilities of the classes of every image of ``split``, shape (images, classes)."""
    return np.concatenate(
        [
            keras.ops.convert_to_numpy(model(images, training=False))
            for images, _ in evaluation_batches(split)
        ]
    ).astype(np.float64)


def evaluation_of(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]
) -> Evaluation:
    """Results of a network from its ``classify`` and the true classes, shape (images,)."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return Evaluation(
        loss=float(-np.log(np.maximum(of_truth, keras.backend.epsilon())).mean()),
        accuracy=float((predicted == labels).mean()),
        confusion=confusion,
        mistakes=most_confident_mistakes(probabilities, labels),
    )


def _class_weights(spec: TrainingSpec, train: Images, classes: int) -> dict[int, float] | None:
    """The weight of each class in the training loss; None if they are equal.

    The weights are such that every class has the same total, and the images a mean weight of 1.
    """
    if spec.class_weights == "none":
        return None
    counts = np.bincount(train.labels, minlength=classes)
    share = len(train.labels) / np.count_nonzero(counts)
    return {number: share / int(count) if count else 1.0 for number, count in enumerate(counts)}


def _recipe(
    spec: TrainingSpec, optimizer: keras.optimizers.Optimizer
) -> list[keras.callbacks.Callback]:
    """The callbacks of the spec. KeepCheckpoint restores the best weights in any case."""
    callbacks: list[keras.callbacks.Callback] = []
    mode = "max" if spec.monitor in MAXIMISED else "min"
    # A rate that follows a schedule or a function is not a variable.
    scheduled = not isinstance(optimizer.learning_rate, keras.Variable)
    if spec.reduce_lr and not scheduled:  # Keras does not allow changing the rate of a schedule
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=spec.monitor,
                mode=mode,
                factor=spec.reduce_lr.factor,
                patience=spec.reduce_lr.patience,
                min_lr=spec.reduce_lr.min_lr,
            )
        )
    if spec.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor=spec.monitor,
                mode=mode,
                patience=spec.early_stopping.patience,
                # At a schedule's high rates val_loss fluctuates and says little: judge it from the
                # middle on.
                start_from_epoch=spec.epochs // 2 if scheduled else 0,
            )
        )
    return callbacks


def prepare_process(threads: int) -> None:
    """Set up TensorFlow for training in this process; call it once, first.

    Args:
        threads: Processor threads that one operation may use.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)
    tf.config.experimental.enable_op_determinism()
