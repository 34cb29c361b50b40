"""Turn a user's model into a classifier from raw images to probabilities."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.own_errors import OwnCodeError, OwnPrunedError, cause, prunes
from models.own_input import conversion, size
from models.own_loss import OwnLoss, loss_of
from models.own_view import of_normalization, scales

CLOSE = 0.01  # tolerance for the sum of probabilities, in half precision
# treino trains, validates and predicts itself; a model that overrides these is refused.
_TRAINING = (
    *("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"),
    *("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"),
    *("make_train_function", "make_test_function", "make_predict_function"),
)


@dataclass(frozen=True)
class OwnNetwork:
    """A user's network as treino needs it.

    Attributes:
        model: From raw images, (n, height, width, channels) with values 0 to 255, to (n, classes)
            probabilities; not compiled.
        optimizer: The user's optimiser, unused; None if the network was not compiled.
        loss: The loss that the user compiled with; None if there is none.
        scales: Whether the network seems to scale its images.
        remarks: Warnings for the user, one line each.
        converted: The size to which images are converted in front of the user's network; empty if
            they fit.
        attributes: What the user's code has set on the trial, by name; JSON-compatible.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer | None = None
    loss: OwnLoss | None = None
    scales: bool = True
    remarks: tuple[str, ...] = ()
    converted: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_smoothing(self) -> float:
        """Share of a label that is spread over all classes in training."""
        return self.loss.label_smoothing if self.loss else 0.0


def network(model: keras.Model, input_shape: tuple[int, int, int], classes: int) -> OwnNetwork:
    """Turn a user's model into one from raw images to probabilities.

    Raises:
        OwnCodeError: It does not accept these images, has another number of classes, or overrides
            training.
        OwnPrunedError: The images are too small for its layers.
    """
    _check_stock_training(model)
    loss = loss_of(model)
    converting, converted = conversion(model, input_shape)
    inputs = keras.Input(shape=input_shape, name="image")
    taken = inputs
    for convert in converting:
        taken = convert(taken)
    try:
        outputs = model(taken)
        binary = _one_for_two(outputs, classes)
        is_graph = len(getattr(model, "inputs", ())) == len(getattr(model, "outputs", ())) == 1
        logit = binary and is_graph and _without_sigmoid(model)
        if is_graph:
            # Without the user's optimiser, which would be saved with it.
            outputs = keras.Model(model.inputs[0], model.outputs[0])(taken)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        line = f"the network does not take images of {size(input_shape)}: {cause(error)}"
        if prunes(error):
            raise OwnPrunedError(line, {}) from error
        raise OwnCodeError(line) from error
    _check_outputs(outputs, classes, loss, binary=binary)
    whole = keras.Model(inputs, outputs)
    remarks = []
    if binary:
        from_logits = logit or bool(loss and loss.from_logits)
        if not from_logits and (loss is None or not _are_shares(_tried(whole, input_shape))):
            raise OwnCodeError(
                "the network's one output is not a probability: end it with a sigmoid, or compile "
                "it with BinaryCrossentropy(from_logits=True)"
            )
        outputs = _as_two(outputs, from_logits=from_logits)
    else:
        # As in Keras: a softmax counts, even if the loss expects logits.
        values = _tried(whole, input_shape)
        from_logits = not _add_up(values)
        if from_logits:
            if loss is not None and not loss.from_logits:
                raise OwnCodeError(
                    "the network returns no probabilities: end it with softmax, or compile it "
                    "with a loss with from_logits=True"
                )
            if loss is None and _are_shares(values):
                remarks.append(
                    "its outputs lie between 0 and 1 and do not add up to 1, as sigmoids do: they "
                    "are taken as logits and get a softmax; end it with softmax instead"
                )
    whole = keras.Model(inputs, _probabilities(outputs, from_logits=from_logits))
    remarks += of_normalization(model)
    optimizer = _unused(model.optimizer) if model.compiled and model.optimizer else None
    return OwnNetwork(whole, optimizer, loss, scales(model), tuple(remarks), converted)


def _unused(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The user's optimiser, or a copy if it has been used already.

    The original is preferred: weights excluded from weight decay, for example, are not in the
    config.
    """
    counters = [name for name, value in vars(optimizer).items() if isinstance(value, tf.Variable)]
    if counters:
        raise OwnCodeError(
            f"the optimizer {type(optimizer).__name__} has {counters[0]} as a tf.Variable, which "
            "Keras does not track and checkpoints do not contain: use keras.Variable"
        )
    if not optimizer.built:
        return optimizer
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except Exception as error:
        raise OwnCodeError(
            f"the optimizer {type(optimizer).__name__} was used already and cannot be copied "
            f"({cause(error)}): create a new one in each call, and only compile"
        ) from error


def _check_stock_training(model: keras.Model) -> None:
    changed = [
        name
        for name in _TRAINING
        if name in vars(model)
        or inspect.getattr_static(type(model), name, None)
        is not inspect.getattr_static(keras.Model, name, None)
    ]
    if changed:
        raise OwnCodeError(
            f"{type(model).__name__} has its own {', '.join(changed)}, which treino does not "
            "call: it trains and validates every network in the same way; move the code to "
            "layers, add_loss or the optimizer"
        )


def _check_outputs(outputs: Any, classes: int, loss: OwnLoss | None, *, binary: bool) -> None:
    shape: Any = getattr(outputs, "shape", None)
    if shape != (None, classes) and not binary:
        many = len(outputs) if isinstance(outputs, list | tuple | Mapping) else "several"
        hint = ": use classes"
        if shape is not None and len(shape) != 2:
            hint = ": flatten or pool before the last layer"
        elif shape == (None, 1):
            hint = ", or a sigmoid where there are two classes" if classes == 2 else ""
        raise OwnCodeError(
            f"the network returns {f'{many} outputs' if shape is None else f'shape {shape}'}, "
            f"expected (None, {classes}), one value for each class{hint}"
        )
    if loss and (loss.kind == "binary") != binary:
        raise OwnCodeError(
            f"the network has {shape[1]} outputs and is compiled with {loss.name}: "
            + (
                "use sparse_categorical_crossentropy with softmax"
                if loss.kind == "binary"
                else "use binary_crossentropy with one sigmoid, or an output for each class"
            )
        )


def _one_for_two(outputs: Any, classes: int) -> bool:
    return classes == 2 and getattr(outputs, "shape", None) == (None, 1)


def _without_sigmoid(model: keras.Model) -> bool:
    """Remove a sigmoid at the end of a graph of layers; returns whether there was one.

    Logits hold more information than probabilities. In float32 the probability is 1 from logit 17
    on, and nothing would be learned from a mistake there.
    """
    for layer in model.layers:
        try:
            is_last = layer.output is model.outputs[0]
        except (AttributeError, ValueError):  # never called, or several times
            continue
        if is_last and getattr(layer, "activation", None) is keras.activations.sigmoid:
            layer.activation = keras.activations.linear
            return True
    return False


def _as_two(outputs: keras.KerasTensor, *, from_logits: bool) -> keras.KerasTensor:
    """Turn one output into values of two classes, logits or probabilities, with Keras layers."""
    dtype = _full(outputs)
    other = keras.layers.Rescaling(0.0, dtype=dtype, name="other_class")
    if not from_logits:
        other = keras.layers.Rescaling(-1.0, offset=1.0, dtype=dtype, name="other_class")
    return keras.layers.Concatenate(dtype=dtype, name="two_classes")([other(outputs), outputs])


def _probabilities(outputs: keras.KerasTensor, *, from_logits: bool) -> keras.KerasTensor:
    """Outputs as probabilities in full precision, whatever the dtype policy."""
    dtype = _full(outputs)
    if from_logits:
        return keras.layers.Activation("softmax", dtype=dtype, name="class")(outputs)
    if outputs.dtype != dtype:
        return keras.layers.Activation("linear", dtype=dtype, name="class")(outputs)
    return outputs


def _full(outputs: keras.KerasTensor) -> str:
    return "float64" if outputs.dtype == "float64" else "float32"


def _tried(model: keras.Model, input_shape: tuple[int, int, int]) -> Any:
    """The outputs for a few images of noise, half of them so dark that nothing is saturated.

    Raises:
        OwnCodeError: The network fails on them.
    """
    noise = np.random.default_rng(0).integers(0, 256, (4, *input_shape)).astype(np.float32)
    # Sigmoids of 0 to 255 as they are tend to be 0 or 1, and now and then add up to 1.
    noise[2:] /= 255
    try:
        outputs = model(noise, training=False)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        raise OwnCodeError(
            f"the network fails on images of {size(input_shape)}: {cause(error)}"
        ) from error
    return np.asarray(keras.ops.convert_to_numpy(outputs), np.float64)


def _are_shares(values: Any) -> bool:
    return bool((values >= 0).all() and (values <= 1 + CLOSE).all())


def _add_up(values: Any) -> bool:
    return bool((values >= 0).all() and (abs(values.sum(axis=1) - 1) < CLOSE).all())
