"""Image folders: which layout they have, what is wrong with them, and what is in them.

Nothing is decoded here; see decode.py.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.dataset import SPLITS, DataError
from data.split import LEAST, stratified

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
MAX_FILE_BYTES = 100 * 2**20  # of one image file
SHOWN = 5  # how many files an error names

_SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
_NUMBERED_TRAIN = re.compile(r"train[ _-]?(\d+)", re.IGNORECASE)
_ORDER_PREFIX = re.compile(r"^\d+[_ -]+(?=.)")


@dataclass(frozen=True)
class ImageFile:
    """An image that was found, not yet read."""

    path: Path
    size: int
    modified: int  # nanoseconds


@dataclass(frozen=True)
class Found:
    """The images of one split, in order.

    Attributes:
        files: Folder after folder, class after class, by name.
        labels: The class of each.
        parts: Sizes of the consecutive training folders.
    """

    files: tuple[ImageFile, ...]
    labels: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Scan:
    """What an image folder holds.

    Attributes:
        root: The folder.
        classes: Names of the classes, in the order of the labels.
        splits: The images of each split.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, Found]


def scan(root: Path, seed: int) -> Scan:
    """Find the images below ``root`` and check that they can be trained on.

    Raises:
        DataError: The folder does not exist, has none of the layouts, lacks a split, or has a
            class that is empty or not in every split.
    """
    if not root.exists():
        raise DataError(f"no folder {root}: check the path")
    if not root.is_dir():
        raise DataError(f"{root} is a file: name the folder that holds the images")
    found = {
        split: folder
        for split, names in _SPLIT_NAMES.items()
        for name, folder in _subfolders(root).items()
        if name.lower() in names
    }
    if found:
        return _with_splits(root, found)
    return _without_splits(root, seed)


def images_below(folder: Path) -> Iterator[ImageFile]:
    """The images in a folder and the folders in it, by name; hidden ones are left out.

    Raises:
        DataError: A folder cannot be read.
    """
    yield from _images(folder)
    for subfolder in _subfolders(folder).values():
        if not subfolder.is_symlink():  # which may lead back up
            yield from images_below(subfolder)


def class_names(folders: Sequence[str]) -> tuple[str, ...]:
    """Names for class folders, which may start with a number: ``000_airplane`` is ``airplane``.

    Where that would make two names one, all keep their numbers.
    """
    short = tuple(_ORDER_PREFIX.sub("", folder) for folder in folders)
    return short if len(set(short)) == len(short) else tuple(folders)


def part_folders(folders: Sequence[str]) -> list[str]:
    """The training folders train1, train2, ... among ``folders``, by their number."""
    numbered = [(match, f) for f in folders if (match := _NUMBERED_TRAIN.fullmatch(f))]
    return [folder for _, folder in sorted((int(match[1]), folder) for match, folder in numbered)]


def _with_splits(root: Path, found: dict[str, Path]) -> Scan:
    for split in SPLITS:
        if split not in found:
            raise DataError(
                f"{root} has {' and '.join(sorted(found))} but no folder {split!r}: add it, or "
                "give a folder of class folders alone, which is split 80/10/10"
            )
    parts = part_folders(list(_subfolders(found["train"])))
    sources = {split: [folder] for split, folder in found.items()}
    if parts:
        sources["train"] = [found["train"] / part for part in parts]
    classes = {split: _classes_of(folders) for split, folders in sources.items()}
    _same_classes(classes, found)
    names = sorted(classes["train"])
    splits = {split: _read(folders, names) for split, folders in sources.items()}
    return Scan(root, class_names(names), splits)


def _without_splits(root: Path, seed: int) -> Scan:
    names = sorted(_subfolders(root))
    if len(names) < 2:
        raise DataError(
            f"{root} holds no image folders: expected train, validation and test, or at least two "
            f"folders named after classes; found {', '.join(names) or 'none'}"
        )
    whole = _read([root], names)
    labels = np.array(whole.labels, np.int32)
    for number, name in enumerate(names):
        count = int((labels == number).sum())
        if count < LEAST:
            raise DataError(
                f"{root / name} holds {count} of the {LEAST} images or more that a class needs to "
                "be in training, validation and test"
            )
    splits = {
        split: Found(
            tuple(whole.files[row] for row in rows),
            tuple(whole.labels[row] for row in rows),
            (len(rows),),
        )
        for split, rows in stratified(labels, seed).items()
    }
    return Scan(root, class_names(names), splits)


def _classes_of(folders: Sequence[Path]) -> set[str]:
    return {name for folder in folders for name in _subfolders(folder)}


def _same_classes(classes: dict[str, set[str]], found: dict[str, Path]) -> None:
    everywhere = set.union(*classes.values())
    if len(everywhere) < 2:
        raise DataError(f"{found['train']} holds fewer than two class folders")
    for split in SPLITS:
        for name in sorted(everywhere - classes[split]):
            other = next(s for s in SPLITS if name in classes[s])
            raise DataError(
                f"class {name!r} is in {found[other]} but not in {found[split]}: every class "
                "needs images in training, validation and test"
            )


def _read(folders: Sequence[Path], names: Sequence[str]) -> Found:
    """The images of the class folders ``names`` in each of ``folders``, one after the other."""
    files: list[ImageFile] = []
    labels: list[int] = []
    parts: list[int] = []
    for folder in folders:
        before = len(files)
        for label, name in enumerate(names):
            images = list(_images(folder / name)) if (folder / name).is_dir() else []
            files += images
            labels += [label] * len(images)
        parts.append(len(files) - before)
    for label, name in enumerate(names):
        if label not in labels:
            raise DataError(
                f"{folders[0] / name} holds no images (PNG, JPEG, BMP or WebP): fill it or remove "
                "the class"
            )
    return Found(tuple(files), tuple(labels), tuple(part for part in parts if part))


def _images(folder: Path) -> Iterator[ImageFile]:
    for entry in _entries(folder):
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - 60,000 times
        if suffix in SUFFIXES and entry.is_file():
            status = entry.stat()
            yield ImageFile(Path(entry.path), status.st_size, status.st_mtime_ns)


def _subfolders(folder: Path) -> dict[str, Path]:
    return {entry.name: Path(entry.path) for entry in _entries(folder) if entry.is_dir()}


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds, hidden things left out, by name."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    except PermissionError as error:
        raise DataError(f"no permission to read {folder}: change its permissions") from error
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error
    return sorted(shown, key=lambda entry: entry.name)
