"""Refuse to train where a user's code only has to build: treino trains each network itself."""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from models.own_errors import OwnCodeError

# Calls that train: of methods with these names, and of ``fit`` with these arguments, which
# scikit-learn's has not.
_TRAINS = ("fit_generator", "train_on_batch", "apply_gradients")
_OF_FIT = {"epochs", "validation_data", "validation_split", "steps_per_epoch", "callbacks"}


class TrainsError(Exception):
    """The user's code starts a training or a search of its own."""


@contextmanager
def no_training() -> Iterator[None]:
    """Let what trains or searches raise TrainsError: Keras's, KerasTuner's and Optuna's.

    The last two only if they are imported already.
    """
    replaced = [(owner, name, vars(owner).get(name)) for owner, name in _trainers()]
    for owner, name, _ in replaced:
        setattr(owner, name, _refuse)
    try:
        yield
    finally:
        for owner, name, before in replaced:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def check_builds(content: bytes, name: str, place: str) -> None:
    """Refuse a function of a file that trains, as an Optuna objective does, before it runs.

    Args:
        content: The file's content.
        name: Name of the function.
        place: The file's path.

    Raises:
        OwnCodeError: It trains, or calls a function of the file that does.
    """
    functions = {
        node.name: node
        for node in ast.parse(content).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    line = _line_of_training(name, functions, set())
    if line is None:
        return
    called = [call for call in _calls(functions[name]) if isinstance(call.func, ast.Name)]
    arguments = functions[name].args.args
    trial = arguments[0].arg if arguments else ""
    builders = [
        call.func.id
        for call in called
        if isinstance(call.func, ast.Name)
        and call.func.id in functions
        and any(isinstance(argument, ast.Name) and argument.id == trial for argument in call.args)
        and _line_of_training(call.func.id, functions, set()) is None
    ]
    instead = (
        f"name the function that builds the network: --space {place}:{builders[0]}"
        if builders
        else "move what builds the network to a function that returns the model, and name that"
    )
    raise OwnCodeError(f"{name} trains (line {line}), which treino does itself: {instead}")


def _line_of_training(name: str, functions: dict[str, Any], visited: set[str]) -> int | None:
    """The first line in a function, or in those that it calls, that trains."""
    if name not in functions or name in visited:
        return None
    visited.add(name)
    for call in _calls(functions[name]):
        if isinstance(call.func, ast.Attribute):
            is_fit = call.func.attr == "fit" and any(k.arg in _OF_FIT for k in call.keywords)
            if is_fit or call.func.attr in _TRAINS:
                return call.lineno
        elif isinstance(call.func, ast.Name):
            line = _line_of_training(call.func.id, functions, visited)
            if line is not None:
                return line
    return None


def _calls(function: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda call: call.lineno)


def _trainers() -> Iterator[tuple[Any, str]]:
    """Classes and the names of their methods that train or search."""
    for name in ("fit", "train_on_batch"):
        yield keras.Model, name
    yield keras.optimizers.Optimizer, "apply_gradients"
    if (optuna := sys.modules.get("optuna")) is not None:
        yield optuna.Study, "optimize"
    if (keras_tuner := sys.modules.get("keras_tuner")) is not None:
        # Its constructor builds a network, and makes folders.
        yield keras_tuner.engine.base_tuner.BaseTuner, "__init__"


def _refuse(*_arguments: object, **_named: object) -> None:
    raise TrainsError("treino trains each network itself")
