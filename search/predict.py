"""Classifies images with a delivered model."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.decode import decode_file
from data.tree import KINDS, images_below
from search.errors import SettingsError, TreinoError
from search.settings import is_code
from search.spaces.probe import reference
from storage.files import RunFiles

ANYWHERE = Path("/")  # a model may be anywhere, and be a link
TOGETHER = 64  # images decoded and classified at a time


@dataclass(frozen=True)
class Classified:
    """The classification of one image.

    Attributes:
        path: The image.
        probabilities: Probabilities of the classes, in the model's order; empty for a bad image.
        fault: Why the image could not be classified; empty if it could.
    """

    path: Path
    probabilities: tuple[float, ...]
    fault: str = ""


class Classifier:
    """A delivered model, with images and classes as in its spec.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        remark: A warning for the user, in one line; empty if there is none.

    Args:
        path: The model file, or its folder.
        space: The user's code that the model needs, as in the setting; it is run. Empty for none.

    Raises:
        TreinoError: There is no model, no spec beside it, or they do not belong together.
        SettingsError: ``space`` is no code, or raises.
    """

    def __init__(self, path: Path, space: str = "") -> None:
        file = RunFiles(ANYWHERE, path).model if _is(path.is_dir) else path
        if not _is(file.is_file):
            what = f"no {file.name} in {path}" if _is(path.is_dir) else f"no file {path}"
            raise TreinoError(f"{what}: name a model.keras file or its folder")
        if file.suffix != ".keras":  # older formats have no effective safe mode
            raise TreinoError(f"{file}: expected a .keras file, as `treino retrain-best` writes")
        self.classes, self._shape, digest = _read_spec(file)
        self.remark = _run_code(space, digest) if space else ""
        self._model = _load(file, self._shape, len(self.classes))

    def classify(self, paths: Sequence[Path]) -> Iterator[Classified]:
        """Classify image files; unreadable ones are included, with the fault."""
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")  # about odd images; real faults are errors
            for start in range(0, len(paths), TOGETHER):
                some = paths[start : start + TOGETHER]
                decoded = list(pool.map(self._decode, some))
                good = [image for image in decoded if not isinstance(image, str)]
                rows = iter(self._model.predict_on_batch(np.stack(good)) if good else ())
                for path, image in zip(some, decoded, strict=True):
                    if isinstance(image, str):
                        yield Classified(path, (), image)
                    else:
                        yield Classified(path, tuple(float(p) for p in next(rows)))

    def best(self, of: Classified, count: int | None) -> list[tuple[str, float]]:
        """The ``count`` most likely classes with their probabilities, most likely first.

        Empty for a bad image; all classes if ``count`` is None.
        """
        named = zip(self.classes, of.probabilities, strict=not of.fault)
        return sorted(named, key=lambda pair: -pair[1])[:count]

    def _decode(self, path: Path) -> npt.NDArray[np.uint8] | str:
        try:
            return decode_file(path, self._shape[0])
        except ValueError as error:
            return str(error)


def image_files(named: Sequence[Path]) -> list[Path]:
    """The named images; folders are replaced by the images in and below them.

    Raises:
        TreinoError: A folder has no images.
        DataError: A folder cannot be read.
    """
    files: list[Path] = []
    for path in named:
        found = [file.path for file in images_below(path)] if _is(path.is_dir) else [path]
        if not found:
            raise TreinoError(f"{path} holds no images ({KINDS})")
        files += found
    return files


def _is(what: Callable[[], bool]) -> bool:
    """Evaluate a path test; False for names that no file can have."""
    try:
        return what()
    except (OSError, RuntimeError, ValueError):
        return False


def _read_spec(file: Path) -> tuple[tuple[str, ...], tuple[int, int, int], str]:
    """Classes and input shape (height, width, channels) of a model, from the spec beside it.

    The digest of the user's code comes third; it is empty for a network of treino's.
    """
    path = RunFiles(ANYWHERE, file.parent).spec
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        data, model = spec["data"], spec.get("model") or {}
        digest = str(model.get("digest", ""))
        classes = tuple(str(name) for name in data["classes"])
        height, width, channels = (int(size) for size in data["input_shape"])
    except FileNotFoundError as error:
        raise TreinoError(
            f"no {path.name} beside {file}: it has the classes and the image size; "
            "copy it along with the model"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TreinoError(f"{path} has no valid classes and input_shape ({error!r})") from error
    return classes, (height, width, channels), digest


def _run_code(space: str, digest: str) -> str:
    """Run the user's code, which registers its layers; returns a remark, empty if there is none.

    Raises:
        SettingsError: It is no code, or raises.
    """
    if not is_code(space):
        raise SettingsError(f"--space {space}: expected your code, as in net.py:build")
    with _without_stderr():
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
        with _without_stderr():  # TensorFlow prints there at any log level
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


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Suppress standard error, including output from C++."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - not a path
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
