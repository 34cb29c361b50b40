"""Build networks by a user's own function."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.own_call import called
from models.own_classifier import OwnNetwork, network
from models.own_errors import CodeChangedError, OwnCodeError, OwnPrunedError, prunes, told
from models.own_guard import check_builds, no_training
from models.own_ranges import Value
from models.own_source import keras_settings_kept, running
from models.own_trial import OwnTrial, given
from models.spec import OwnSpec

# Variables of networks built earlier in this process, by identity.
_built: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def _no_images() -> npt.NDArray[np.float32]:
    raise TypeError("there are no images here")


@dataclass(frozen=True)
class OwnCode:
    """A user's function; its file runs anew for every network.

    Attributes:
        reference: The file or module, a colon, and the function's name.
        digest: Hexadecimal digest of the file and of its top-level imports from its folder.
        remark: A warning for the user, in one line; empty if there is none.
    """

    reference: str
    digest: str
    remark: str = ""

    def build(
        self,
        trial: OwnTrial,
        input_shape: tuple[int, int, int],
        classes: int,
        images: Callable[[], npt.NDArray[np.float32]] = _no_images,
    ) -> OwnNetwork:
        """The network for a trial; ``images`` returns training images if it asks for some.

        Raises:
            OwnCodeError: The function raises, or builds no classifier for these images.
            OwnPrunedError: It prunes the trial.
            CodeChangedError: Its file has changed.
        """
        with self.called(trial, input_shape, classes, images) as model:
            return self.checked(model, trial, input_shape, classes)

    @contextmanager
    def called(
        self,
        trial: OwnTrial,
        input_shape: tuple[int, int, int],
        classes: int,
        images: Callable[[], npt.NDArray[np.float32]] = _no_images,
    ) -> Iterator[keras.Model]:
        """What the function returns, unchecked; its modules are there for the block.

        Arguments and errors as of ``build``.
        """
        with running(self.reference) as source:
            if source.digest != self.digest:
                raise CodeChangedError(
                    f"{self.reference} is not what the study was made with (now {source.digest}, "
                    f"then {self.digest}): restore it, or name another STUDY="
                )
            name = self.reference.rpartition(":")[2]
            try:
                with no_training():
                    model = called(source.module, name, trial, input_shape, classes, images)
            except (MemoryError, tf.errors.ResourceExhaustedError, OwnCodeError):
                raise
            except (Exception, SystemExit) as error:
                line = f"{told(error, source.folder)}{_with(trial.params)}"
                if prunes(error):
                    raise OwnPrunedError(line, trial.user_attrs) from error
                raise OwnCodeError(line) from error
            if not isinstance(model, keras.Model):
                raise OwnCodeError(
                    f"{self.reference} returned {type(model).__name__}, expected a keras.Model"
                )
            yield model

    def checked(
        self, model: keras.Model, trial: OwnTrial, input_shape: tuple[int, int, int], classes: int
    ) -> OwnNetwork:
        """The network of what ``called`` returned.

        Raises:
            OwnCodeError: It is no classifier for these images.
            OwnPrunedError: The images are too small for its layers.
        """
        built = network(model, input_shape, classes)
        _check_unshared(built.model)
        return replace(built, attributes=dict(trial.user_attrs))


def load(reference: str) -> OwnCode:
    """Run the user's file, or import the module, and find the function in it.

    Raises:
        OwnCodeError: There is no such file, module or function, or it raises.
    """
    place, _, name = reference.rpartition(":")
    with keras_settings_kept(), running(reference) as source:
        check_builds(source.content, name, place)
        remark = source.stopped and f"its file is not run from {source.stopped}, on: it trains"
        return OwnCode(reference, source.digest, remark)


def build(
    spec: OwnSpec,
    input_shape: tuple[int, int, int],
    classes: int,
    images: Callable[[], npt.NDArray[np.float32]] = _no_images,
    number: int = 0,
) -> OwnNetwork:
    """The network that the user's function builds for a configuration, with fresh weights.

    Args:
        spec: The function and the configuration.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.
        images: Returns training images, if the function asks for some.
        number: Number of the trial.

    Raises:
        OwnCodeError: The function raises, or builds no classifier for these images.
        OwnPrunedError: It prunes the trial.
        CodeChangedError: Its file has changed.
    """
    trial = given(dict(spec.params), number)
    return OwnCode(spec.code, spec.digest).build(trial, input_shape, classes, images)


def _check_unshared(model: keras.Model) -> None:
    shared = [v.path for v in model.variables if id(v) in _built]
    if shared:
        raise OwnCodeError(
            f"the network shares the variable {shared[0]} with one built before: create its layers "
            "in the function, not outside of it"
        )
    _built.update({id(variable): variable for variable in model.variables})


def _with(params: Mapping[str, Value]) -> str:
    """The parameter values of the call, for a message."""
    shown = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return f" (with {shown[:200]})" if shown else ""
