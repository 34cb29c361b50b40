"""Classifies images with a delivered model."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.decode import decode_file
from data.tree import KINDS, images_below
from search.delivered_model import DeliveredModel, is_path
from search.errors import TreinoError

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
    """Classifies images with a delivered model.

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
        model = DeliveredModel.load(path, space)
        self.classes, self._side = model.classes, model.input_shape[0]
        self.remark = model.remark
        self._network = model.network

    def classify(self, paths: Sequence[Path]) -> Iterator[Classified]:
        """Classify image files; unreadable ones are included, with the fault."""
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")  # about odd images; real faults are errors
            for start in range(0, len(paths), TOGETHER):
                some = paths[start : start + TOGETHER]
                decoded = list(pool.map(self._decode, some))
                good = [image for image in decoded if not isinstance(image, str)]
                rows = iter(self._network.predict_on_batch(np.stack(good)) if good else ())
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
            return decode_file(path, self._side)
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
        images = [file.path for file in images_below(path)] if is_path(path.is_dir) else [path]
        if not images:
            raise TreinoError(f"{path} holds no images ({KINDS})")
        files += images
    return files
