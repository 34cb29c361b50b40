"""Networks that a user's own function builds.

Running the file that the user names is what he asked for; nothing else is run from a disk.
"""

import hashlib
import importlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.own_trial import OwnTrial, Value, given
from models.spec import OwnSpec

SHOWN = 3  # of the user's lines that an error names: the last ones that were called
CLOSE = 0.01  # how far from 1 probabilities may add up, in half precision
_SCALING = {
    *("Rescaling", "Normalization", "BatchNormalization"),
    *("Divide", "TrueDivide", "Multiply", "Subtract"),
}
_LOSSES = {"sparsecategoricalcrossentropy", "categoricalcrossentropy"}


class OwnCodeError(Exception):
    """The user's code raised, or does not build what it should; one line, with the user's."""


class CodeChangedError(Exception):
    """The user's code is no longer what the study was made with; the message is one line."""


@dataclass(frozen=True)
class OwnCode:
    """A user's function, loaded.

    Attributes:
        reference: The file or module, a colon, and the function's name.
        function: The function.
        folder: Where the user's files are: a traceback's lines from there are his.
        digest: Hexadecimal digest of the file and of what it imports at its top from its folder.
    """

    reference: str
    function: Callable[..., Any]
    folder: Path
    digest: str

    def call(self, trial: OwnTrial, input_shape: tuple[int, ...], classes: int) -> keras.Model:
        """The network for a trial, as the user's function returns it.

        Raises:
            OwnCodeError: It raises, or returns no model.
        """
        arguments = (trial, input_shape, classes)
        try:
            model = self.function(*arguments[: _arity(self.function)])
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except (Exception, SystemExit) as error:
            raise OwnCodeError(f"{told(error, self.folder)}{_with(trial.params)}") from error
        if not isinstance(model, keras.Model):
            raise OwnCodeError(
                f"{self.reference} returned {type(model).__name__}, expected a keras.Model"
            )
        return model


@cache  # a process that builds again and again runs the file once, as any import would
def load(reference: str) -> OwnCode:
    """Run the user's file, or import his module, and take the function out of it.

    Raises:
        OwnCodeError: There is no such file, module or function, or it raises.
    """
    place, _, name = reference.rpartition(":")
    path = Path(place)
    of_file = path.suffix == ".py"
    folder = path.parent if of_file else Path.cwd()
    before = set(sys.modules)
    # At the end: a file of the user's must not stand in for one that TensorFlow imports later.
    sys.path.append(str(folder))
    try:
        if of_file:
            content = path.read_bytes()
            module = _run(path, content)
        else:
            module = importlib.import_module(place)
            path = Path(str(module.__file__))
            folder, content = path.parent, path.read_bytes()
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename) == path:
            raise OwnCodeError(f"{place}: {error.strerror or error}") from error
        raise OwnCodeError(told(error, folder)) from error
    except (Exception, SystemExit) as error:
        raise OwnCodeError(told(error, folder)) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise OwnCodeError(f"{place} has no function {name!r}")
    helpers = [m for n, m in sys.modules.items() if n not in before and m is not module]
    return OwnCode(reference, function, folder, _digest(content, helpers, folder))


def build(spec: OwnSpec, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The network that the user's function builds for a configuration, with fresh weights.

    It takes raw images, (n, height, width, channels) with values 0 to 255, and returns
    (n, classes) probabilities. It is compiled, if the user's is, with an optimiser like his.

    Raises:
        OwnCodeError: The function raises, or builds no classifier for such images.
        CodeChangedError: Its file is not what it was.
    """
    code = load(spec.code)
    if code.digest != spec.digest:
        raise CodeChangedError(
            f"{spec.code} is not what the study was made with (now {code.digest}, then "
            f"{spec.digest}): put it back, or name another STUDY="
        )
    return network(code.call(given(dict(spec.params)), input_shape, classes), input_shape, classes)


def network(model: keras.Model, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """A user's model as treino needs it: from raw images to probabilities.

    Raises:
        OwnCodeError: It does not take such images, or does not tell so many classes apart.
    """
    from_logits = _from_logits(model)
    inputs = keras.Input(shape=input_shape, name="image")
    try:
        outputs = model(inputs)
        if len(getattr(model, "inputs", ())) == len(getattr(model, "outputs", ())) == 1:
            # Without the user's optimiser, which would be saved with it.
            outputs = keras.Model(model.inputs[0], model.outputs[0])(inputs)
    except Exception as error:
        raise OwnCodeError(
            f"the network does not take images of shape {input_shape}: {_first_line(error)}"
        ) from error
    shape = getattr(outputs, "shape", None)
    if shape != (None, classes):
        raise OwnCodeError(
            f"the network returns {'several values' if shape is None else f'shape {shape}'}, "
            f"expected (None, {classes}): one value for each class"
        )
    whole = keras.Model(inputs, outputs)
    if from_logits is None or not from_logits:
        adds_up = _are_probabilities(whole, input_shape)
        if from_logits is False and not adds_up:
            raise OwnCodeError(
                "the network returns no probabilities: end it with softmax, or compile it with a "
                "loss with from_logits=True"
            )
        from_logits = not adds_up
    if from_logits:
        whole = keras.Model(inputs, keras.layers.Activation("softmax", name="class")(outputs))
    if model.compiled:
        whole.compile(optimizer=fresh(model.optimizer), loss="sparse_categorical_crossentropy")
    return whole


def fresh(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """An optimiser like another that has not seen any weights yet."""
    return type(optimizer).from_config(optimizer.get_config())


def check_loadable(model: keras.Model) -> None:
    """Refuse a network that could be trained but not handed over.

    Raises:
        OwnCodeError: It has layers that Keras does not know, or does not load for safety's sake.
    """
    try:
        content = keras.saving.serialize_keras_object(model)
        keras.saving.deserialize_keras_object(content, safe_mode=True)
    except Exception as error:
        raise OwnCodeError(
            f"the network cannot be saved and loaded again: {_first_line(error)}: put "
            "@keras.saving.register_keras_serializable() before layers of your own, and use them "
            "in place of Lambda"
        ) from error


def scales(model: keras.Model) -> bool:
    """Whether a network seems to scale its images; True where its layers cannot be seen."""
    layers = [model]
    for layer in layers:
        if type(layer).__module__.split(".")[0] != "keras":
            return True
        layers += getattr(layer, "operations", getattr(layer, "layers", []))
    return any(type(layer).__name__ in _SCALING for layer in layers)


def told(error: BaseException, folder: Path) -> str:
    """An error of the user's code in one line: his lines that led to it, and what it says."""
    where = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {(frame.line or '')[:100]}"
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_below(frame.filename, folder)
    ]
    if isinstance(error, SyntaxError):
        name = Path(error.filename or "?").name
        where.append(f"{name}:{error.lineno}: {(error.text or '').strip()}")
        return f"{' > '.join(where[-SHOWN:])}: {type(error).__name__}: {error.msg}"
    return ": ".join((" > ".join(where[-SHOWN:]), _first_line(error))).removeprefix(": ")


def _run(path: Path, content: bytes) -> types.ModuleType:
    """The module of a file's content: just what was read, and no stale bytecode."""
    # Not by its own name, which might be that of a package of ours: data.py, models.py.
    module = types.ModuleType(f"own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - what the user asked for
    return module


def _digest(content: bytes, modules: list[types.ModuleType], folder: Path) -> str:
    whole = hashlib.sha256(content)
    files = {Path(f) for m in modules if (f := getattr(m, "__file__", None))}
    for file in sorted(file for file in files if _is_below(str(file), folder)):
        whole.update(f"\0{file.relative_to(folder)}\0".encode())
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def _is_below(file: str, folder: Path) -> bool:
    """Whether a file is the user's: not of Python or of treino, which may lie in his folder."""
    path, ours = Path(file), Path(__file__).parent.parent
    others = [ours / package for package in ("data", "models", "search", "storage")]
    others += [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    return path.is_relative_to(folder) and not any(
        path.is_relative_to(other) and not folder.is_relative_to(other) for other in others
    )


def _arity(function: Callable[..., Any]) -> int:
    """How many of trial, input shape and classes a function takes: one, as in KerasTuner, or three.

    Raises:
        TypeError: Another number.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in positional)
    for count in (3, 1):
        if needed <= count <= len(positional):
            return count
    raise TypeError(f"expected build(trial, input_shape, classes) or build(trial), got {needed}")


def _from_logits(model: keras.Model) -> bool | None:
    """What the loss that a model was compiled with says of its outputs; None if it says nothing.

    Raises:
        OwnCodeError: It is another loss than the cross-entropy, which is what a study minimises.
    """
    loss = getattr(model, "loss", None) if model.compiled else None
    if loss is None:
        return None
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    smoothed = " with label smoothing" if config.get("label_smoothing") else ""
    if name.replace("_", "").lower() not in _LOSSES or smoothed:
        raise OwnCodeError(
            f"the network is compiled with the loss {name or loss!r}{smoothed}: expected "
            "sparse_categorical_crossentropy, which treino trains and judges by"
        )
    return bool(config.get("from_logits", False))


def _are_probabilities(model: keras.Model, input_shape: tuple[int, int, int]) -> bool:
    """Whether the outputs for a few images of noise are, for each, 0 or more and add up to 1."""
    noise = np.random.default_rng(0).integers(0, 256, (4, *input_shape)).astype(np.float32)
    told_ = np.asarray(keras.ops.convert_to_numpy(model(noise, training=False)), np.float64)
    return bool((told_ >= 0).all() and (abs(told_.sum(axis=1) - 1) < CLOSE).all())


def _with(params: Mapping[str, Value]) -> str:
    """The values that the function had been given."""
    shown = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return f" (with {shown[:200]})" if shown else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
