"""Find a user's builder of networks by its name, and call it with the arguments that it takes."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from models.own_errors import OwnCodeError
from models.own_trial import OwnTrial
from models.pipeline import Images

Shape: TypeAlias = tuple[int, int, int]
Values: TypeAlias = Sequence[tuple[re.Pattern[str], Callable[[], Any]]]
"""What a parameter may get, with the names that say so, in the order of their places."""

SAMPLE = 1000  # training images for a builder that asks for images
_SHAPE = re.compile(r"shape")
_CLASSES = re.compile(r"^(num|n|nb|no|number)?_?(of_)?(class|classes|labels)$")
_IMAGES = re.compile(r"^(training_|train_)?images$")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def exists(module: Any, name: str) -> bool:
    """Whether a module has a builder of this name: a function, or something with a ``build``."""
    target = module
    for part in name.split("."):
        target = getattr(target, part, None)
    return callable(target) or callable(getattr(target, "build", None))


def called(
    module: Any,
    name: str,
    trial: OwnTrial,
    input_shape: Shape,
    classes: int,
    images: Callable[[], npt.NDArray[np.float32]],
) -> Any:
    """What a builder returns: a function, a method, or a HyperModel's ``build``.

    A class on the way is instantiated, with the shape and the number of classes if it takes them.

    Args:
        module: The user's module.
        name: Name in it, with dots for attributes.
        trial: The first argument.
        input_shape: Height, width and channels of the images; the second argument.
        classes: Number of classes; the third argument.
        images: Returns training images; the fourth argument.

    Raises:
        TypeError: It takes other arguments.
    """
    values = ((_SHAPE, lambda: input_shape), (_CLASSES, lambda: classes), (_IMAGES, images))
    target = module
    for part in name.split("."):
        target = getattr(target, part)
        if _is_hypermodel(target):
            target = _instance(target, values)
    if not inspect.isroutine(target) and not inspect.isclass(target) and hasattr(target, "build"):
        target = target.build
    arguments, named = _arguments(target, values)
    return target(trial, *arguments, **named)


def sample(split: Images) -> npt.NDArray[np.float32]:
    """Up to SAMPLE of the images, evenly spaced, (n, height, width, channels), 0 to 255."""
    count = len(split.labels)
    chosen = np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)
    return np.asarray(split.images[chosen], np.float32)


def _is_hypermodel(target: Any) -> bool:
    """Whether it is a class with a ``build`` of networks, and not of a layer's weights."""
    return (
        inspect.isclass(target)
        and hasattr(target, "build")
        and not issubclass(target, keras.layers.Layer)
    )


def _instance(kind: Any, values: Values) -> Any:
    """An object of a class, whose constructor may take the shape and the number of classes."""
    arguments = {}
    for parameter in inspect.signature(kind).parameters.values():
        get = _named_for(parameter, values)
        if get is not None:
            arguments[parameter.name] = get()
        elif parameter.default is parameter.empty and parameter.kind not in _VARIADIC:
            raise OwnCodeError(
                f"{kind.__name__} needs {parameter.name}: create an object of it in the file, and "
                "name that, as in net.py:hypermodel"
            )
    return kind(**arguments)


def _arguments(function: Callable[..., Any], values: Values) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a function after the trial, by place and by name.

    A parameter gets what it is named for. Two or three without defaults may have any name.

    Raises:
        TypeError: It needs other arguments.
    """
    # KerasTuner's HyperModel puts a wrapper around ``build``.
    function = getattr(getattr(function, "__self__", None), "_build", function)
    parameters = [*inspect.signature(function).parameters.values()]
    by_place = [get for _, get in values]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [get() for get in by_place[:2]], {}
    needed = [p for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
    arguments, named = [], {}
    for place, parameter in enumerate(parameters[1:]):
        get = _named_for(parameter, values)
        if parameter in needed:
            if get is None and 3 <= len(needed) <= len(by_place) + 1:
                get = by_place[place]
            if get is None:
                break
            arguments.append(get())
        elif get is not None:
            named[parameter.name] = get()
    if len(arguments) + 1 != len(needed):
        raise TypeError(
            "expected build(trial, input_shape, classes) or build(trial), perhaps with images as "
            f"a fourth argument, got {len(needed)}"
        )
    return arguments, named


def _named_for(parameter: inspect.Parameter, values: Values) -> Callable[[], Any] | None:
    return next((get for words, get in values if words.search(parameter.name)), None)
