"""Decoded data sets: uint8 arrays on disk, memory-mapped and shared by processes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.names import printable

FORMAT = 1  # of a decoded folder; part of the fingerprint
SPLITS = ("train", "validation", "test")
META = "dataset.json"


class DataError(Exception):
    """Images that are not available or not usable; the message is one line for the user.

    The message can be printed and encoded, whatever names it contains.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes:
        images: (n, side, side, 3) uint8, memory-mapped, read-only.
        labels: (n,) int32, class numbers.
        parts: Sizes of the consecutive folders that the images came in (train1, train2, ...);
            they add up to n.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """A decoded data set.

    Attributes:
        name: Name of the data set.
        source: Where it came from, in a phrase.
        classes: Names of the classes, in the order of the labels.
        train: Images to train on.
        validation: Images to select models by.
        test: Images that are used once, at the end.
        fingerprint: Hexadecimal digest of the content: images, classes, split and size.
        path: The decoded folder; ``open`` opens it in any process.
        warnings: Warnings for the user, one line each.
        formerly: Fingerprints that earlier versions gave the same content.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    path: Path
    warnings: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a decoded folder. Images are read when they are used.

        Raises:
            DataError: The folder is missing or damaged.
        """
        try:
            meta = json.loads((path / META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise DataError(f"{path} was decoded by another version of treino")
            splits = {name: _open_split(path, name, meta["splits"][name]) for name in SPLITS}
            return cls(
                name=meta["name"],
                source=meta["source"],
                classes=tuple(meta["classes"]),
                fingerprint=meta["fingerprint"],
                path=path,
                train=splits["train"],
                validation=splits["validation"],
                test=splits["test"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no decoded images any more ({error})") from error


def files_of(folder: Path) -> list[Path]:
    """The files of a decoded folder, in the order in which they have to be written."""
    arrays = [array_file(folder, split, what) for split in SPLITS for what in ("images", "labels")]
    return [*arrays, folder / META]


def array_file(folder: Path, split: str, what: str) -> Path:
    """The file of the ``images`` or ``labels`` of a split in a decoded folder."""
    return folder / f"{split}-{what}.npy"


def _open_split(folder: Path, name: str, meta: dict[str, Any]) -> Split:
    arrays = {}
    for what, size in meta["bytes"].items():
        file = array_file(folder, name, what)
        # A truncated file could still be mapped; reading it gives garbage or a crash.
        if file.stat().st_size != size:
            raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {size}")
        arrays[what] = np.load(file, mmap_mode="r", allow_pickle=False)
    return Split(arrays["images"], arrays["labels"], tuple(meta["parts"]))
