"""Train one spec: seeds, batches, callbacks, checkpoints, and what comes out of it.

val_loss, here and everywhere in treino, is the mean cross-entropy on the validation images,
without the L2 penalty (see ``DataLossModel``) and without label smoothing.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.checkpoint import Checkpoint, load_newest, restore_state, state_of
from models.evaluation import Mistake, most_confident_mistakes
from models.history import EpochFigures, best_epoch
from models.network import build
from models.own_network import OwnNetwork
from models.own_network import build as build_own
from models.own_source import keras_settings_kept
from models.own_view import described
from models.pipeline import Images, TrainingBatches, evaluation_batches
from models.spec import WARM_UP, ModelSpec, OwnSpec, TrainingSpec, warm_up_steps

STEPS_AT_ONCE = 16  # that TensorFlow does in one call from Python
MANY_STEPS = 200  # in an epoch: fewer do not earn back what the larger graph takes to build


class Data(Protocol):
    """What training needs to know of a data set."""

    @property
    def train(self) -> Images:
        """Images to learn from."""

    @property
    def validation(self) -> Images:
        """Images to choose by."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        model: The network with the weights of its best epoch, ready to save: stock Keras, no
            custom object, float32 in whatever precision it was trained.
        history: The figures of every epoch.
        best: The epoch with the lowest val_loss, whose weights ``model`` has.
    """

    model: keras.Model
    history: tuple[EpochFigures, ...]
    best: EpochFigures


@dataclass(frozen=True)
class Evaluation:
    """How a network did on images it never learned from.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share classified correctly, 0 to 1.
        confusion: (classes, classes) counts: rows are true classes, columns predicted ones.
        mistakes: The wrongly classified images that it was surest of.
    """

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.int64]
    mistakes: tuple[Mistake, ...]


class DivergedError(Exception):
    """The val_loss became NaN or infinite; the message says at which epoch."""


@keras_settings_kept()  # a user's code may set them, for its own network alone
def fit(
    model_spec: ModelSpec | OwnSpec,
    training_spec: TrainingSpec,
    data: Data,
    *,
    seed: int,
    checkpoint: Path,
    built: Callable[[keras.Model, Mapping[str, Any] | None], None] = lambda _network, _own: None,
    resumed: Callable[[tuple[EpochFigures, ...], bool], None] = lambda _history, _last: None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Training:
    """Train a network, from ``checkpoint`` if there is one, and write it after each epoch.

    The same arguments on the same kind of machine give the same curve, bit for bit, however
    often the training was broken off and taken up again.

    Args:
        model_spec: The network.
        training_spec: How to train it.
        data: The images.
        seed: Decides fresh weights, dropout and the order of the images; 0 to 2**32 - 1.
        checkpoint: File that holds the state of the training.
        built: Called with the network before anything else, and with how it is trained and loaded
            where it is the user's own (``described``), else None. It may raise to refuse.
        resumed: Called once before training with the figures of the epochs already in
            ``checkpoint``, and whether they are all there will be. It may raise to refuse.
        callbacks: Further callbacks. They see an epoch when its checkpoint is safe, with logs
            named as in EpochFigures. One that sets ``model.stop_training`` pauses the training.

    Raises:
        SpecError: The network does not fit the images.
        CheckpointError: The checkpoint is of another network.
        DivergedError: An epoch's val_loss is not finite.
    """
    keras.utils.set_random_seed(seed)
    shape, classes = data.train.images.shape[1:], len(data.classes)
    steps = math.ceil(len(data.train.labels) / training_spec.batch_size)
    own: OwnNetwork | None = None
    if isinstance(model_spec, OwnSpec):
        own = build_own(model_spec, shape, classes)
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
    _compile(model, training_spec, steps)
    if own and own.optimizer is not None:
        model.optimizer = own.optimizer
    built(network, described(network, model.optimizer, own.loss) if own else None)
    model.optimizer.build(model.trainable_variables)

    saved = load_newest(checkpoint)
    keeper = _Keeper(checkpoint, saved)
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
        averages = [_Averages(keeper)] if _averages(model.optimizer) else []
        model.fit(
            batches.dataset,
            epochs=training_spec.epochs,
            initial_epoch=len(keeper.history),
            shuffle=False,  # TrainingBatches does it
            validation_data=evaluation_batches(data.validation),
            callbacks=[
                _Figures(batches),
                *recipe,
                _Resume(saved, recipe),
                *averages,
                keeper,
                *callbacks,
            ],
            verbose=0,
        )
    best = best_epoch(keeper.figures)
    if best is None:
        raise DivergedError("no epoch had a finite val_loss")
    if not isinstance(model_spec, OwnSpec):
        network = build(model_spec, shape, classes)  # of stock layers, in float32
    network.set_weights(keeper.best)
    # For evaluate(): with an optimiser that remembers nothing, the file is the network alone, and
    # Keras loads it without a complaint about what the optimiser lacks.
    network.compile(
        "sgd",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        auto_scale_loss=False,
    )
    return Training(network, keeper.figures, best)


def norm_momentum(steps: int) -> float:
    """How slowly batch normalisation's statistics follow batches, in epochs of ``steps`` steps.

    Keras's 0.99, but never so slowly that after an epoch more than a twentieth of them is still
    what they began with. On few images that took many epochs, in which every normalised network
    looked like chance on the validation images, however well it had learned.
    """
    return min(0.99, 1 - 3 / max(steps, 4))  # (1 - 3 / n)^n is less than e^-3


def evaluate(model: keras.Model, split: Images) -> Evaluation:
    """Classify every image of ``split``."""
    probabilities = np.concatenate(
        [
            keras.ops.convert_to_numpy(model(images, training=False))
            for images, _ in evaluation_batches(split)
        ]
    ).astype(np.float64)
    labels = np.asarray(split.labels)
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


class DataLossModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model whose validation loss is the data's alone.

    Keras adds the L2 penalty to the loss it reports, on validation images too. With the strength
    of L2 in the search space that would rank a strongly regularised network last however well it
    generalises. What the optimiser minimises is untouched.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The penalised loss to train on; the data's loss elsewhere."""
        if training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred))

    def _aggregate_additional_loss(self, loss: Any) -> Any:
        # What a layer in half precision adds is in half precision, and Keras adds up equals only.
        return keras.ops.cast(super()._aggregate_additional_loss(loss), keras.config.floatx())


class _Figures(keras.callbacks.Callback):  # type: ignore[misc]
    """First in line: sets the epoch's order, and names the logs as EpochFigures does."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # Keras makes an epoch's iterator after this; one that it made ahead it throws away.
        self._batches.epoch = epoch + 1
        self._started = time.perf_counter()
        self._learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        # Of the weights alone. What layers add while they are called is in the training loss.
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


class _Resume(keras.callbacks.Callback):  # type: ignore[misc]
    """Brings a fresh model, and the callbacks that steer it, to where the checkpoint was."""

    def __init__(
        self, saved: Checkpoint | None, steering: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self._saved = saved
        self._steering = steering

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._saved is None:
            return
        # What steering callbacks know, they know from the figures: seeing them again, they get
        # back to where they were, whatever they keep inside. They have just been reset by their
        # own on_train_begin, and the rate they lower is still the one training started with.
        for figures in self._saved.history:
            for callback in self._steering:
                callback.on_epoch_end(figures.epoch - 1, figures.to_dict())
        restore_state(self.model, self._saved.state)


class _Averages(keras.callbacks.Callback):  # type: ignore[misc]
    """Judges, and keeps, the moving averages of the weights where the optimiser has them.

    Keras's fit ends with them. Training goes on with the weights themselves, to the last bit.
    """

    def __init__(self, keeper: "_Keeper") -> None:
        super().__init__()
        self._keeper = keeper

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._weights = [v.numpy().copy() for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        self._keeper.tested = [weight.numpy().copy() for weight in self.model.weights]
        for variable, weight in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(weight)


class _Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the history, the best weights and the checkpoint.

    Attributes:
        history: The figures of every epoch so far.
        best: The weights of the best epoch.
        finished: Whether a callback had ended the training.
        tested: The weights that the epoch was judged by, where they are not the model's.
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
        return tuple(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
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


def _compile(model: keras.Model, spec: TrainingSpec, steps: int) -> None:
    """Compile for training with ``steps`` steps an epoch.

    With many steps, callbacks hear of every STEPS_AT_ONCE-th only.
    """
    smoothing = spec.label_smoothing
    model.compile(
        optimizer=_optimizer(spec, steps * spec.epochs),
        loss=_smoothed(smoothing) if smoothing else "sparse_categorical_crossentropy",
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"),
        ],
        steps_per_execution=STEPS_AT_ONCE if steps >= MANY_STEPS else 1,
    )


def _optimizer(spec: TrainingSpec, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser of a training of ``steps`` steps in all.

    A schedule is a function of the optimiser's count of steps, which is in the checkpoint: a
    training taken up again is where it was.
    """
    decay = spec.weight_decay or None
    optimizer = (
        keras.optimizers.Adam(_rate(spec, steps), weight_decay=decay)
        if spec.optimizer == "adam"
        else keras.optimizers.SGD(
            _rate(spec, steps), momentum=spec.momentum, nesterov=True, weight_decay=decay
        )
    )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimiser keeps moving averages of the weights."""
    return bool(getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False))


def _rate(spec: TrainingSpec, steps: int) -> float | keras.optimizers.schedules.CosineDecay:
    """What ``models.spec.learning_rate_at`` says, as Keras has it."""
    if spec.schedule == "constant":
        return spec.learning_rate
    rising = warm_up_steps(spec, steps)
    return keras.optimizers.schedules.CosineDecay(
        spec.learning_rate / WARM_UP if rising else spec.learning_rate,
        decay_steps=steps - rising,
        warmup_target=spec.learning_rate if rising else None,
        warmup_steps=rising,
    )


def _smoothed(share: float) -> Callable[[Any, Any], Any]:
    """The cross-entropy with labels of which ``share`` is spread over all classes."""

    def loss(y: Any, y_pred: Any) -> Any:
        labels = keras.ops.one_hot(keras.ops.reshape(y, (-1,)), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(labels, y_pred, label_smoothing=share)

    return loss


def _recipe(
    spec: TrainingSpec, optimizer: keras.optimizers.Optimizer
) -> list[keras.callbacks.Callback]:
    """The callbacks that the spec asks for. Best weights come back in any case: see _Keeper."""
    callbacks: list[keras.callbacks.Callback] = []
    # A rate that follows a schedule, or a function, is no variable.
    scheduled = not isinstance(optimizer.learning_rate, keras.Variable)
    if spec.reduce_lr and not scheduled:  # Keras lets nobody change the rate of a schedule
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss",
                mode="min",
                factor=spec.reduce_lr.factor,
                patience=spec.reduce_lr.patience,
                min_lr=spec.reduce_lr.min_lr,
            )
        )
    if spec.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss",
                mode="min",
                patience=spec.early_stopping.patience,
                # At a schedule's high rates val_loss goes up and down, and says little: it is
                # judged from the middle on.
                start_from_epoch=spec.epochs // 2 if scheduled else 0,
            )
        )
    return callbacks


def prepare_process(threads: int) -> None:
    """Set TensorFlow up for training in this process; call it once, before anything else.

    Args:
        threads: Processor threads that one operation may use.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)
    tf.config.experimental.enable_op_determinism()
