"""How a network is compiled: loss, optimiser, learning rate."""

from collections.abc import Callable
from typing import Any

import keras

from models.muon import Muon
from models.spec import WARM_UP, TrainingSpec, warm_up_steps

STEPS_AT_ONCE = 16  # steps per call from Python
MANY_STEPS = 200  # per epoch: with fewer, the larger graph does not pay for its build time


def norm_momentum(steps: int) -> float:
    """Momentum of batch normalisation's statistics, in epochs of ``steps`` steps.

    Keras's 0.99, but low enough that after an epoch at most a twentieth of them is still the
    initial value. On few images 0.99 took many epochs, during which every normalised network
    looked like chance on the validation images, however well it had learned.
    """
    return min(0.99, 1 - 3 / max(steps, 4))  # (1 - 3 / n)^n is less than e^-3


class DataLossModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model whose validation loss excludes the L2 penalty.

    Keras adds the L2 penalty to the loss it reports, on validation images too. With the strength
    of L2 in the search space, that would rank a strongly regularised network last, however well
    it generalises. The loss that the optimiser minimises is unchanged.

    Attributes:
        validated: Called with the predictions of each validation batch, (images, classes).
    """

    validated: Callable[[Any], None] | None = None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss with the penalty in training; without it elsewhere."""
        if training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if self.validated is not None:
            self.validated(y_pred)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred))

    def _aggregate_additional_loss(self, loss: Any) -> Any:
        # A layer in half precision adds a loss in half precision; Keras adds equal types only.
        return keras.ops.cast(super()._aggregate_additional_loss(loss), keras.config.floatx())


def compile_model(model: keras.Model, spec: TrainingSpec, steps: int) -> None:
    """Compile for training with ``steps`` steps per epoch.

    With many steps, callbacks are called for every STEPS_AT_ONCE-th step only.
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
    """The optimiser for a training of ``steps`` steps in total.

    A schedule is a function of the optimiser's step count, which is in the checkpoint. So a
    resumed training continues at the same rate.
    """
    decay = spec.weight_decay or None
    rate = _rate(spec, steps)
    match spec.optimizer:
        case "adam":
            optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
        case "sgd":
            optimizer = keras.optimizers.SGD(
                rate, momentum=spec.momentum, nesterov=True, weight_decay=decay
            )
        case "muon":
            optimizer = Muon(rate, weight_decay=decay, dtype=spec.precision)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def has_averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimiser keeps moving averages of the weights."""
    return bool(getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False))


def _rate(spec: TrainingSpec, steps: int) -> float | keras.optimizers.schedules.CosineDecay:
    """The schedule of ``models.spec.learning_rate_at`` in Keras."""
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
    """The cross-entropy with label smoothing: ``share`` is spread over all classes."""

    def loss(y: Any, y_pred: Any) -> Any:
        labels = keras.ops.one_hot(keras.ops.reshape(y, (-1,)), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(labels, y_pred, label_smoothing=share)

    return loss
