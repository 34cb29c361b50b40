"""A delivered model as users have it: a Keras file with its spec beside it."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.keras_import import import_keras
from search.errors import SettingsError, TreinoError
from search.settings import is_code
from search.spaces.probe import reference
from storage.files import RunFiles

ANYWHERE = Path("/")  # a model may be anywhere, and be a link


@dataclass(frozen=True)
class DeliveredModel:
    """A delivered model, with images and classes as in its spec.

    Attributes:
        file: The Keras file.
        classes: Names of the classes, in the order of the probabilities.
        input_shape: Height, width and channels of an image.
        fingerprint: Identifies the images that it was trained and tested on; empty if unknown.
        network: The Keras model, from (n, height, width, channels) with values 0 to 255 to
            (n, classes) probabilities.
        remark: A warning for the user, in one line; empty if there is none.
    """

    file: Path
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    fingerprint: str
    network: Any
    remark: str = ""

    @classmethod
    def load(cls, path: Path, space: str = "") -> "DeliveredModel":
        """Load a model, without running code from it.

        Args:
            path: The model file, or its folder.
            space: The user's code that the model needs, as in the setting; it is run. Empty for
                none.

        Raises:
            TreinoError: There is no model, no spec beside it, or they do not belong together.
            SettingsError: ``space`` is no code, or raises.
        """
        file = RunFiles(ANYWHERE, path).model if is_path(path.is_dir) else path
        if not is_path(file.is_file):
            what = f"no {file.name} in {path}" if is_path(path.is_dir) else f"no file {path}"
            raise TreinoError(f"{what}: name a model.keras file or its folder")
        if file.suffix != ".keras":  # older formats have no effective safe mode
            raise TreinoError(f"{file}: expected a .keras file, as `treino retrain-best` writes")
        spec = _read_spec(file)
        remark = _run_code(space, spec.digest) if space else ""
        network = _load(file, spec.input_shape, len(spec.classes))
        return cls(file, spec.classes, spec.input_shape, spec.fingerprint, network, remark)

    @property
    def files(self) -> RunFiles:
        """The files beside the model."""
        return RunFiles(ANYWHERE, self.file.parent)


def is_path(what: Callable[[], bool]) -> bool:
    """Evaluate a path test; False for names that no file can have."""
    try:
        return what()
    except (OSError, RuntimeError, ValueError):
        return False


@contextmanager
def without_stderr() -> Iterator[None]:
    """Suppress standard error, including output from C++: TensorFlow prints at any log level."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - not a path
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@dataclass(frozen=True)
class _Spec:
    """The part of a spec that the use of a model needs; ``digest`` is that of the user's code."""

    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    fingerprint: str
    digest: str


def _read_spec(file: Path) -> _Spec:
    """The spec beside a model."""
    path = RunFiles(ANYWHERE, file.parent).spec
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        data, model = spec["data"], spec.get("model") or {}
        digest = str(model.get("digest", ""))
        classes = tuple(str(name) for name in data["classes"])
        height, width, channels = (int(size) for size in data["input_shape"])
        fingerprint = str(data.get("fingerprint", ""))
    except FileNotFoundError as error:
        raise TreinoError(
            f"no {path.name} beside {file}: it has the classes and the image size; "
            "copy it along with the model"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TreinoError(f"{path} has no valid classes and input_shape ({error!r})") from error
    return _Spec(classes, (height, width, channels), fingerprint, digest)


def _run_code(space: str, digest: str) -> str:
    """Run the user's code, which registers its layers; returns a remark, empty if there is none.

    Raises:
        SettingsError: It is no code, or raises.
    """
    if not is_code(space):
        raise SettingsError(f"--space {space}: expected your code, as in net.py:build")
    with without_stderr():
        import_keras()
        from models.own_errors import OwnCodeError
        from models.own_network import load
    try:
        code = load(reference(space))
    except OwnCodeError as error:
        raise SettingsError(f"--space {space}: {error}") from error
    if digest in ("", code.digest):
        return ""
    return f"{space} has changed since the model was trained (now {code.digest}, then {digest})"


def _load(file: Path, shape: tuple[int, int, int], classes: int) -> Any:
    """The model, loaded without running code from it."""
    try:
        with without_stderr():
            import_keras()
            import keras

            model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise TreinoError(
            f"{file} could not be loaded; it is damaged, or it needs code of yours: name that with "
            f"--space net.py:build ({type(error).__name__}: {reason})"
        ) from error
    expected = ((None, *shape), (None, classes))
    if (model.input_shape, model.output_shape) != expected:
        raise TreinoError(
            f"{file} takes {model.input_shape} and returns {model.output_shape}, but the spec "
            f"beside it has {expected[0]} and {expected[1]}: they do not belong together"
        )
    return model
