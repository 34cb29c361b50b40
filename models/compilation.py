"""How a network is compiled: loss, optimizer, learning rate."""

from collections.abc import Callable
from typing import Any

import keras

from models.spec import WARM_UP, TrainingSpec, warm_up_steps

STEPS_AT_ONCE = 16  # that TensorFlow does in one call from Python
MANY_STEPS = 200  # in an epoch: fewer do not earn back what the larger graph takes to build


def norm_momentum(steps: int) -> float:
    """How slowly batch normalisation's statistics follow batches, in epochs of ``steps`` steps.

    Keras's 0.99, but never so slowly that after an epoch more than a twentieth of them is still
    what they began with. On few images that took many epochs, in which every normalised network
    looked like chance on the validation images, however well it had learned.
    """
    return min(0.99, 1 - 3 / max(steps, 4))  # (1 - 3 / n)^n is less than e^-3


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


def compile_model(model: keras.Model, spec: TrainingSpec, steps: int) -> None:
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


def has_averages(optimizer: keras.optimizers.Optimizer) -> bool:
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
