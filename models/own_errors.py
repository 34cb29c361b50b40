"""One-line messages for errors in a user's own code."""

import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ModelError

_PACKAGES = {"kerastuner": "keras-tuner", "keras_tuner": "keras-tuner"}
SHOWN = 3  # the user's innermost lines that an error names, at most
LONGEST = 300  # characters of an error's text

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ADDRESS = re.compile(r"(?: object)? at 0x[0-9a-fA-F]+")
_VALUES = re.compile(r"(?:\[\s*)+[-+]?\d(?:[-+\d.,eE\s\[\]]|nan|inf|\.\.\.){50,}")
_CALLED = re.compile(r"(?:Exception encountered when calling|\(of type) (?:layer )?['\"]?(\w+)")
_ENCOUNTERED = "Exception encountered: "
_INNER = "Error encountered:"  # before the error itself
_NO_ROOM = "Computed output size would be zero or negative"
_MISSING = re.compile(r"Could not locate (class|function) '([^']+)'")
_LAMBDA_LAYER = "deserialization of a `Lambda` layer"
_LAMBDA = "lambda"
_NO_CONFIG = re.compile(r"Object (\w+) was created by passing\s+non-serializable")
# Lines of a message about the place in Keras or TensorFlow, not the cause.
_WHERE = (
    *("Exception encountered when calling", "Graph execution error", "Detected at node"),
    *("File ", "Stack trace for op", "in user code:", "[[{{node", "<stack trace", "Traceback"),
    *("~", "^", "*", "config=", "[Op:", "Hint:", "Node:"),
)


class OwnCodeError(ModelError):
    """The user's code raised, or builds something invalid; a one-line message."""


class CodeChangedError(ModelError):
    """The user's code differs from that of the study; a one-line message."""


class OwnPrunedError(ModelError):
    """The user's code prunes its trial, or has no network for it; a one-line message.

    Attributes:
        attributes: What it has set on the trial, by name; JSON-compatible.
    """

    def __init__(self, message: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.attributes = dict(attributes)


def prunes(error: BaseException) -> bool:
    """Whether an error is the configuration's.

    It is if the user's code raises what Optuna or KerasTuner have for that, or if the images are
    too small for the layers.
    """
    optuna, keras_tuner = sys.modules.get("optuna"), sys.modules.get("keras_tuner")
    return (
        (optuna is not None and isinstance(error, optuna.TrialPruned))
        or (keras_tuner is not None and isinstance(error, keras_tuner.errors.FailedTrialError))
        or (isinstance(error, ValueError) and _NO_ROOM in str(error))
    )


def cause(error: BaseException) -> str:
    """An error in one line: its type, Keras's layer if it names one, and the cause.

    Messages of Keras and TensorFlow contain the place, then the cause, then the arguments. Only
    the cause is kept, without colours, addresses and arrays.
    """
    text = _ANSI.sub("", str(error)).partition("\nArguments received by ")[0]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_WHERE)]
    inner = [number for number, line in enumerate(lines) if line.endswith(_INNER)]
    nested = [line for line in lines if _ENCOUNTERED in line]
    if inner and inner[-1] + 1 < len(lines):
        said = lines[inner[-1] + 1]
    elif nested:
        said = nested[-1].rpartition(_ENCOUNTERED)[2]
    elif text.lstrip().startswith(("in user code:", "Graph execution error")):
        said = lines[-1] if lines else ""
    else:
        said = lines[0] if lines else ""
    said = said.partition(" Full object config: ")[0].partition(" [Op:")[0]
    said = re.sub(r"^\{\{.*?\}\}\s*", "", said)
    said = _VALUES.sub("[…]", _ADDRESS.sub("", said))[:LONGEST].rstrip()
    name = type(error).__name__
    called = _CALLED.findall(text)
    layer = called[-1] if called and called[-1] not in said else ""
    return ": ".join(part for part in (name, layer, said.removeprefix(f"{name}: ")) if part)


def told(error: BaseException, folder: Path) -> str:
    """An error of the user's code in one line: the user's lines that led to it, and the cause."""
    where = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {(frame.line or '')[:100]}"
        for frame in traceback.extract_tb(error.__traceback__)
        if is_below(frame.filename, folder)
    ]
    if isinstance(error, SyntaxError):
        name = Path(error.filename or "?").name
        where.append(f"{name}:{error.lineno}: {(error.text or '').strip()}")
        return f"{' > '.join(where[-SHOWN:])}: {type(error).__name__}: {error.msg}"
    line = ": ".join((" > ".join(where[-SHOWN:]), cause(error))).removeprefix(": ")
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = _PACKAGES.get(error.name, error.name.partition(".")[0])
        line += f"; if it is a package: {sys.prefix}/bin/python -m pip install {package}"
    return line


def why_not_loadable(error: BaseException) -> str:
    """Why Keras cannot save a network and load it again, and what to do about it."""
    text = str(error)
    if missing := _MISSING.findall(text):
        kind, name = missing[-1]
        return (
            f"Keras does not know the {kind} {name!r}: put "
            "@keras.saving.register_keras_serializable() before it"
        )
    if unsaved := _NO_CONFIG.search(text):
        name = unsaved[1]
        return (
            f"{name} takes arguments and has no get_config(): give it one, and put "
            "@keras.saving.register_keras_serializable() before it"
        )
    if _LAMBDA_LAYER in text:
        return (
            "it has a Lambda layer, which Keras does not load for safety's sake: use a layer of "
            "Keras's, or one of your own with @keras.saving.register_keras_serializable()"
        )
    if _LAMBDA in text.lower():
        return (
            "it has a lambda, which Keras does not load for safety's sake: use a function with "
            "@keras.saving.register_keras_serializable()"
        )
    return (
        f"{cause(error)}: use layers of Keras's, or of your own with "
        "@keras.saving.register_keras_serializable() and get_config()"
    )


def is_below(file: str, folder: Path) -> bool:
    """Whether a file is the user's, not Python's or treino's."""
    path, ours = Path(file), Path(__file__).parent.parent
    others = [ours / package for package in ("data", "models", "search", "storage")]
    others += [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    return path.is_relative_to(folder) and not any(
        path.is_relative_to(other) and not folder.is_relative_to(other) for other in others
    )
