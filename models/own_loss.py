"""Read the loss that a user compiled with, and check that it is a cross-entropy."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import keras

from models.own_errors import OwnCodeError

_EXPECTED = "expected a cross-entropy, sparse_categorical_crossentropy mostly"
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_CLASSES = {
    keras.losses.SparseCategoricalCrossentropy: "categorical",
    keras.losses.CategoricalCrossentropy: "categorical",
    keras.losses.BinaryCrossentropy: "binary",
}
_FUNCTIONS = {
    keras.losses.sparse_categorical_crossentropy: "categorical",
    keras.losses.categorical_crossentropy: "categorical",
    keras.losses.binary_crossentropy: "binary",
}
# Other arguments of a cross-entropy, accepted only with their default values.
_PLAIN = {"ignore_class": (None,), "axis": (-1,)}


@dataclass(frozen=True)
class OwnLoss:
    """A cross-entropy that a user compiled with.

    Attributes:
        name: Name of Keras's class or function.
        kind: ``categorical``: one value per class, for any form of labels; or ``binary``.
        from_logits: Whether the outputs are logits.
        label_smoothing: Share of a label that is spread over all classes.
    """

    name: str
    kind: Literal["categorical", "binary"]
    from_logits: bool = False
    label_smoothing: float = 0.0


def loss_of(model: keras.Model) -> OwnLoss | None:
    """The loss that a model was compiled with; None if there is none.

    Raises:
        OwnCodeError: It is not a cross-entropy, which is what a study minimises.
    """
    if not model.compiled or getattr(model, "loss", None) is None:
        return None
    weights = _compiled_with(model).get("loss_weights")
    if weights is not None and set(_values(weights)) != {1.0}:
        raise OwnCodeError(
            f"the network is compiled with loss_weights={weights!r:.80}: leave them out, a study "
            "minimises the cross-entropy alone"
        )
    loss = model.loss
    many = _values(loss) if isinstance(loss, list | tuple | Mapping) else [loss]
    if len(many) != 1:
        raise OwnCodeError(f"the network is compiled with {len(many)} losses: expected one")
    return _recognised(many[0])


def _recognised(loss: Any) -> OwnLoss:
    settings: dict[str, Any] = {}
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError as error:
            raise OwnCodeError(f"{_with(loss)}, which Keras does not know: {_EXPECTED}") from error
    if isinstance(loss, partial):
        if loss.args:
            raise OwnCodeError(f"{_with(loss.func)} and unnamed arguments: name them")
        settings, loss = dict(loss.keywords), loss.func
    kind = name = None
    if isinstance(loss, keras.losses.Loss):
        classes = [k for k in _CLASSES if isinstance(loss, k) and _is_plain(type(loss), k)]
        if classes:
            kind, name = _CLASSES[classes[0]], classes[0].__name__
            settings = {**loss.get_config(), "reduction": loss.reduction}
    elif inspect.isfunction(loss) and loss in _FUNCTIONS:
        kind, name = _FUNCTIONS[loss], loss.__name__
    if kind is None or name is None:
        raise OwnCodeError(f"{_with(loss)}: {_EXPECTED}, which treino trains and judges by")
    if settings.get("reduction", "mean") not in _MEANS:
        raise OwnCodeError(
            f"{_with(loss)} with reduction={settings['reduction']!r}: expected the mean (leave "
            "reduction out)"
        )
    for setting, plain in _PLAIN.items():
        if setting in settings and settings[setting] not in plain:
            raise OwnCodeError(f"{_with(loss)} with {setting}={settings[setting]!r}: leave it out")
    smoothing = float(settings.get("label_smoothing") or 0.0)
    if not 0 <= smoothing < 1:
        raise OwnCodeError(f"{_with(loss)} with label_smoothing={smoothing}: expected 0 to below 1")
    return OwnLoss(
        name,
        "binary" if kind == "binary" else "categorical",
        bool(settings.get("from_logits", False)),
        smoothing,
    )


def _is_plain(kind: type, keras_kind: type) -> bool:
    """Whether a class computes the same as Keras's class, whatever its name."""
    return all(
        inspect.getattr_static(kind, method) is inspect.getattr_static(keras_kind, method)
        for method in ("call", "__call__")
    )


def _with(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return f"the network is compiled with the loss {name!r}"


def _values(of: Any) -> list[Any]:
    return list(of.values()) if isinstance(of, Mapping) else list(of) if _many(of) else [of]


def _many(of: Any) -> bool:
    return isinstance(of, list | tuple)


def _compiled_with(model: keras.Model) -> Mapping[str, Any]:
    """The arguments of ``compile``, as Keras stores them."""
    kept = getattr(getattr(model, "_compile_config", None), "config", None)
    return kept if isinstance(kept, Mapping) else {}
