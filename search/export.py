"""Writes a delivered model in the format of another runtime, and tests the file there."""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import Cache
from data.dataset import DataError
from data.decode import decode_file
from models.export import FORMATS, Description, ExportError, Format, for_inference
from models.spec import SpecError
from search.delivered_model import DeliveredModel, without_stderr
from search.errors import TreinoError
from search.predict import image_files
from search.study.evaluation_record import EvaluationRecord
from storage.errors import StorageError
from storage.files import replacing, replacing_folder

TOLERANCE = 1e-4  # largest difference between a probability of Keras's and of the file's runtime
MOST_IMAGES = 256  # that a file is tested on


@dataclass(frozen=True)
class Exported:
    """An exported file.

    Attributes:
        path: The file or folder.
        title: Name of its format.
        bytes: Its size.
        images: Number of images that it was tested on.
        difference: Largest difference between a probability of its own and Keras's on these.
    """

    path: Path
    title: str
    bytes: int
    images: int
    difference: float


def export(
    model: DeliveredModel, name: str, path: Path | None = None, images: Sequence[Path] = ()
) -> Exported:
    """Write a delivered model in another format, if the file computes what the model does.

    Args:
        model: The model.
        name: Name of the format, one of ``FORMATS``.
        path: Where to write; it must not exist. None to write beside the model, over an earlier
            export.
        images: Image files and folders to test the file on, instead of the model's test images.

    Raises:
        ExportError: The format needs a package that is not installed or a later Python, or cannot
            express the network; or the file's probabilities differ. Nothing is left of the file,
            and an earlier one is unchanged.
        TreinoError: There are no images to test the file on, or ``path`` exists.
        StorageError: The file cannot be written.
    """
    wanted = FORMATS[name]
    if sys.version_info < wanted.python:
        needed, here = (".".join(map(str, of[:2])) for of in (wanted.python, sys.version_info))
        raise ExportError(
            f"--to {name} needs Python {needed} or later: no Keras for Python {here} writes it"
        )
    if missing := wanted.missing():
        raise ExportError(
            f"--to {name} needs {', '.join(missing)}, which {'are' if missing[1:] else 'is'} not "
            "installed: in treino's folder, run .venv/bin/pip install -e '.[export]'"
        )
    if path is not None and (path.exists() or path.is_symlink()):
        raise TreinoError(f"{path} exists: remove it, or name another file with --out")
    target = path or model.files.exports / wanted.file
    pixels = _named(images, model.input_shape) if images else images_to_compare(model)
    with (replacing_folder if wanted.folder else replacing)(target) as temporary:
        difference = _write(model, wanted, temporary, pixels)
    return Exported(target, wanted.title, _size(target), len(pixels), difference)


def _write(
    model: DeliveredModel, wanted: Format, path: Path, pixels: npt.NDArray[np.uint8]
) -> float:
    """Write and test a file; returns the largest difference of a probability."""
    digest = hashlib.sha256(model.file.read_bytes()).hexdigest()
    description = Description(model.classes, model.input_shape, digest)
    expected = model.network.predict(pixels, verbose=0)
    images = pixels.astype(np.float32)
    batches = [images[:1], images[1:]] if len(images) > 1 else [images]  # of different sizes
    try:
        with without_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about deprecated parts of the converters
            wanted.write(for_inference(model.network), path, description)
            probabilities = np.concatenate(wanted.run(path, batches))
    except StorageError:
        raise
    except OSError as error:
        if error.errno is not None:  # of the disk, not of a converter
            raise
        raise _refused(wanted, error) from error
    except Exception as error:
        raise _refused(wanted, error) from error
    difference = _difference(expected, probabilities)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the {wanted.title} file is not what the model is: probabilities differ by up to "
            f"{difference:.2g}, expected at most {TOLERANCE:g}; nothing was written"
        )
    return difference


def _difference(expected: npt.NDArray[np.float32], probabilities: npt.NDArray[np.float32]) -> float:
    """Largest difference of two tables of probabilities; infinite if their shapes differ."""
    if expected.shape != probabilities.shape:
        return np.inf
    return float(np.max(np.abs(expected - probabilities)))


def _refused(wanted: Format, error: Exception) -> ExportError:
    reason = " ".join(str(error).split())[:200]
    return ExportError(
        f"this network cannot be written as {wanted.title} ({type(error).__name__}: {reason})"
    )


def images_to_compare(model: DeliveredModel) -> npt.NDArray[np.uint8]:
    """Test images of the model, (n, height, width, channels).

    From the decoded images, else from the ones stored beside the model as its mistakes.

    Raises:
        TreinoError: Neither are there.
    """
    decoded = _decoded(model)
    if decoded is not None:
        return decoded
    try:
        record = EvaluationRecord.from_json(model.files.tested.read_bytes())
        images = [wrong.pixels for wrong in record.mistakes]
    except (OSError, SpecError, StorageError, ValueError):
        images = []
    images = [image for image in images if image.shape == model.input_shape]
    if not images:
        raise TreinoError(
            f"the test images of {model.file} are not here: name images to compare with Keras, "
            "--images PATH"
        )
    return np.stack(images)


def _decoded(model: DeliveredModel) -> npt.NDArray[np.uint8] | None:
    """Test images from the cache, evenly drawn; None if it has none of them."""
    data = None
    if model.fingerprint.isalnum():  # it names a folder
        with suppress(DataError):
            data = Cache.default().find(model.fingerprint)
    if data is None or data.input_shape != model.input_shape:
        return None
    rows = np.linspace(0, len(data.test.labels) - 1, MOST_IMAGES).round().astype(int)
    return np.asarray(data.test.images[np.unique(rows)])


def _named(paths: Sequence[Path], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The first of the named images, (n, height, width, channels).

    Raises:
        TreinoError: One cannot be read, or a folder has none.
    """
    images = []
    for path in image_files(paths)[:MOST_IMAGES]:
        try:
            images.append(decode_file(path, shape[0]))
        except ValueError as error:
            raise TreinoError(f"{path}: {error}") from error
    return np.stack(images)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
