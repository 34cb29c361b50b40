"""Inspect a user's network: its layers, and whether it can be loaded elsewhere."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from models.own_errors import OwnCodeError, why_not_loadable
from models.own_loss import OwnLoss

_SCALING = {
    *("Rescaling", "BatchNormalization", "LayerNormalization", "GroupNormalization"),
    *("Divide", "TrueDivide", "Multiply", "Subtract"),
}


def check_loadable(model: keras.Model) -> None:
    """Refuse a network that could be trained but not delivered.

    Raises:
        OwnCodeError: It has layers that Keras does not know, or refuses to load as unsafe.
    """
    try:
        content = keras.saving.serialize_keras_object(model)
        keras.saving.deserialize_keras_object(content, safe_mode=True)
    except Exception as error:
        raise OwnCodeError(
            f"the network cannot be saved and loaded again: {why_not_loadable(error)}"
        ) from error


def scales(model: keras.Model) -> bool:
    """Whether a network seems to scale its images; True if its layers are not accessible."""
    return any(
        _is_foreign(layer) or type(layer).__name__ in _SCALING or _is_adapted(layer)
        for layer in _layers(model)
    )


def described(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, loss: OwnLoss | None
) -> dict[str, Any]:
    """How a user's own network is trained and loaded, as JSON-compatible values.

    Args:
        model: The network.
        optimizer: Its optimiser.
        loss: The loss that the user compiled with; None if there is none.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    try:
        config = keras.saving.serialize_keras_object(inner)["config"]
    except Exception:  # noqa: BLE001 - a user's optimiser may not support it
        config = {"learning_rate": float(inner.learning_rate)}
    return {
        "optimizer": {"name": type(inner).__name__, "config": config},
        "loss_scaled": inner is not optimizer,
        "loss": loss.name if loss else "sparse_categorical_crossentropy",
        "label_smoothing": loss.label_smoothing if loss else 0.0,
        "dtype_policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "custom_objects": sorted(_custom(keras.saving.serialize_keras_object(model))),
    }


def _custom(config: Any) -> set[str]:
    """Registered names of custom objects that a saved network needs."""
    if isinstance(config, Mapping):
        name = config.get("registered_name")
        if name == "function":
            name = config.get("config")
        here = {name} if isinstance(name, str) and ">" in name else set()
        return here.union(*map(_custom, config.values()))
    if isinstance(config, list | tuple):
        return set().union(*map(_custom, config))
    return set()


def _layers(model: keras.Model) -> list[Any]:
    """A model with all its accessible layers and operations."""
    layers = [model]
    for layer in layers:
        if not _is_foreign(layer):
            layers += getattr(layer, "operations", getattr(layer, "layers", []))
    return layers


def _is_foreign(layer: Any) -> bool:
    return type(layer).__module__.split(".")[0] != "keras"


def _is_adapted(layer: Any) -> bool:
    """Whether a layer is a Normalization with an effect."""
    if not isinstance(layer, keras.layers.Normalization):
        return False
    if layer.input_mean is not None or not layer.built:
        return layer.input_mean is not None
    return bool(np.any(layer.adapt_mean)) or bool(np.any(np.asarray(layer.adapt_variance) != 1))


def of_normalization(model: keras.Model) -> list[str]:
    """Warnings about a network's Normalization layers that are not adapted."""
    layers = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Normalization)]
    if all(map(_is_adapted, layers)):
        return []
    remark = "its Normalization was not adapted and so changes nothing: give it mean= and variance="
    return [f"{remark}, or use Rescaling(1 / 255)"]
