"""Scan image folders: find their layout, their images and their faults.

Supported layouts, each possibly inside wrapping folders:

- ``train``, ``validation`` and ``test`` (or ``Training``/``Testing``, ``val``, ``seg_train``/
  ``seg_test``, ...), each with one folder per class; ``train`` may hold ``train1``,
  ``train2``, ... with the class folders. A missing split, or one without labels, is
  taken from the training images.
- class folders only, split 80/10/10.

Images in folders below a class folder count as images of the class. Decoding is in
decode.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.dataset import SPLITS, DataError
from data.layout import Layout, class_parents, find_layout
from data.names import alike, as_text, class_names, composed, pairs_alike, printable, spelling
from data.remarks import SHOWN, Remarks, some
from data.split import stratified, taking
from data.tree import KINDS, Folder, ImageFile

__all__ = ["MAX_FILE_BYTES", "SHOWN", "Found", "ImageFile", "Scan", "scan"]

MAX_FILE_BYTES = 100 * 2**20  # per image file

Classes = dict[str, Folder]
"""The class folders of one folder, by the key of a class in all folders."""


@dataclass(frozen=True)
class Found:
    """The images of one split, in order.

    Attributes:
        files: Ordered by folder, class and name.
        labels: The class of each file.
        parts: Sizes of the consecutive training folders.
    """

    files: tuple[ImageFile, ...]
    labels: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Scan:
    """The contents of an image folder.

    Attributes:
        root: The folder.
        classes: Names of the classes, in the order of the labels; each can be encoded.
        splits: The images of each split.
        warnings: Warnings about files left out, one line each. They describe the folder as it is
            now, so they are not stored with decoded images.
    """

    root: Path
    classes: tuple[str, ...]
    splits: dict[str, Found]
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the images, after their folder; can be printed."""
        return printable(self.root.resolve().name) or "images"

    @property
    def source(self) -> str:
        """Where the images came from, in a phrase; can be printed."""
        return printable(f"image folders in {self.root.resolve()}")


def scan(root: Path, seed: int) -> Scan:
    """Find the images below ``root`` and check that they are usable.

    Args:
        root: The folder.
        seed: Seed for the split of images without one.

    Raises:
        DataError: The folder does not exist, has no supported layout, or has a class that is
            empty or missing in a split.
    """
    _check_folder(root)
    remarks = Remarks(root)
    layout = find_layout(Folder(str(root)))
    for wrapper in layout.wrappers:
        remarks.beside(wrapper, wrapper.folders.values())
    if layout.splits:
        names, splits = _with_splits(layout, seed, remarks)
    else:
        names, splits = _without_splits(layout.folder, seed, remarks)
    classes = class_names(names)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise DataError(f"two class folders in {root} are both written {twice!r}: rename one")
    for name, other in pairs_alike(names):
        remarks.add(f"two classes look the same: {spelling(name)} and {spelling(other)}")
    return Scan(root, classes, splits, remarks.lines())


def _check_folder(root: Path) -> None:
    try:
        root.stat()
    except PermissionError as error:
        raise DataError(f"no permission to read {root}: change its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"no folder {root} ({reason}): check the path") from error
    if not root.is_dir():
        raise DataError(f"{root} is a file: name the folder that holds the images")


def _with_splits(layout: Layout, seed: int, remarks: Remarks) -> tuple[list[str], dict[str, Found]]:
    """The names of the class folders, and the images of each split."""
    remarks.beside(layout.folder, layout.splits.values())
    parents = {
        split: class_parents(layout.splits[split], parts=split == "train")
        for split in SPLITS
        if split in layout.splits
    }
    key = _key_of(folder for folders in parents.values() for folder in folders)
    classes = {
        split: [{key(name): sub for name, sub in folder.folders.items()} for folder in folders]
        for split, folders in parents.items()
    }
    for split in SPLITS[1:]:
        if split in classes and _unlabelled(classes[split], classes["train"]):
            del classes[split]
    _same_classes(layout, classes)
    # Of names that differ only in their Unicode form, the training folder's is used.
    names = {
        label: folder.name
        for split in reversed(classes)
        for part in reversed(classes[split])
        for label, folder in part.items()
    }
    labels = sorted(names, key=lambda label: names[label])
    for split, parts in classes.items():
        for folder, part in zip(parents[split], parts, strict=True):
            remarks.beside(folder, part.values())
    splits = {split: _read(parts, labels, remarks) for split, parts in classes.items()}
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        ordered = [names[label] for label in labels]
        place = " and ".join(folder.path for folder in parents["train"])
        splits |= _split(splits["train"], ordered, seed, missing, place)
        remarks.add(_taken(layout, splits, missing))
    return [names[label] for label in labels], {split: splits[split] for split in SPLITS}


def _without_splits(
    folder: Folder, seed: int, remarks: Remarks
) -> tuple[list[str], dict[str, Found]]:
    """The names of the class folders, and the images of each split."""
    names = sorted(folder.folders)
    if len(names) < 2:
        raise DataError(
            f"{folder.path} holds no image folders: expected train, validation and test, or at "
            f"least two folders named after classes; found {some(names) or 'none'}"
        )
    remarks.beside(folder, folder.folders.values())
    _remark_same_inside(folder, remarks)
    whole = _read([folder.folders], names, remarks)
    return names, _split(whole, names, seed, SPLITS[1:], folder.path)


def _remark_same_inside(folder: Folder, remarks: Remarks) -> None:
    """Warn about folders that may be splits with unusual names, not classes."""
    inside = [set(sub.folders) for sub in folder.folders.values() if not sub.image_count]
    same = set.intersection(*inside) if len(inside) == len(folder.folders) else set()
    if len(same) > 1:
        remarks.add(
            f"the folders in {folder.path}, which are taken for the classes, all hold folders "
            f"named {some(sorted(same))}: if those are the classes, name the folders around them "
            "train, validation and test"
        )


def _key_of(folders: Iterable[Folder]) -> Callable[[str], str]:
    """How the name of a class folder becomes the key that matches it across folders.

    The key is the composed Unicode form, because a folder from macOS may have another form. It is
    the name itself where one folder has both forms.
    """
    for folder in folders:
        if len({composed(name) for name in folder.folders}) < len(folder.folders):
            return str
    return composed


def _unlabelled(parts: Sequence[Classes], train: Sequence[Classes]) -> bool:
    """Whether a split has no class folders: only images, or one folder that is not a class."""
    names = {label for part in parts for label in part}
    return len(names) < 2 and names.isdisjoint(label for part in train for label in part)


def _same_classes(layout: Layout, classes: Mapping[str, Sequence[Classes]]) -> None:
    names = {
        split: {n: f for part in parts for n, f in part.items()} for split, parts in classes.items()
    }
    everywhere = {label: folder for of_part in names.values() for label, folder in of_part.items()}
    if len(everywhere) < 2:
        raise DataError(f"{layout.splits['train'].path} holds fewer than two class folders")
    for split, own in names.items():
        for label in sorted(everywhere.keys() - own.keys()):
            other = next(s for s in names if label in names[s])
            line = (
                f"class {_quoted(label)} is in {layout.splits[other].path} but not in "
                f"{layout.splits[split].path}: every class needs images in "
                f"{' and '.join(names)}"
            )
            similar = next((name for name in sorted(own) if alike(name, label)), None)
            if similar is not None:
                line += f"; {spelling(label)} and {spelling(similar)} only look the same"
            raise DataError(line)


def _quoted(name: str) -> str:
    return f"'{printable(as_text(name))}'"


def _read(parts: Sequence[Classes], labels: Sequence[str], remarks: Remarks) -> Found:
    """The images of the classes in each part, one part after the other."""
    files_of: list[list[list[ImageFile]]] = [[] for _ in parts]
    for label in labels:
        folders = [part.get(label) for part in parts]
        name = next(as_text(folder.name) for folder in folders if folder)
        for part, folder in zip(files_of, folders, strict=True):
            part.append(list(remarks.images_of(name, folder)) if folder else [])
        if not any(part[-1] for part in files_of):
            path = next(folder.path for folder in folders if folder)
            raise DataError(
                f"{path} holds no images ({KINDS}){remarks.found_in(name)}: fill it or remove the "
                "class"
            )
    return Found(
        tuple(file for part in files_of for images in part for file in images),
        tuple(n for part in files_of for n, images in enumerate(part) for _ in images),
        tuple(size for part in files_of if (size := sum(map(len, part)))),
    )


def _split(
    whole: Found, names: Sequence[str], seed: int, taken: Sequence[str], place: str
) -> dict[str, Found]:
    """The remaining training images, and those taken for other splits."""
    labels = np.array(whole.labels, np.int32)
    least = 1 + len(taken)
    splits = f"{', '.join(('training', *taken[:-1]))} and {taken[-1]}"
    for number, count in enumerate(np.bincount(labels)):
        if count < least:
            raise DataError(
                f"{place}/{names[number]} holds {count} of the {least} images or more "
                f"that a class needs to be in {splits}"
            )
    rows = stratified(labels, seed, taking(taken))
    ends = np.cumsum(whole.parts)
    return {
        split: Found(
            tuple(whole.files[row] for row in own),
            tuple(whole.labels[row] for row in own),
            tuple(int(n) for n in np.diff(np.searchsorted(own, ends), prepend=0) if n)
            if split == "train"
            else (len(own),),
        )
        for split, own in rows.items()
    }


def _taken(layout: Layout, splits: Mapping[str, Found], missing: Sequence[str]) -> str:
    """The line that says which splits were taken from the training images."""
    total = sum(len(splits[split].files) for split in ("train", *missing))
    sizes = " and ".join(f"{len(splits[split].files):,} for {split}" for split in missing)
    empty = [layout.splits[split].path for split in missing if split in layout.splits]
    without = f" ({' and '.join(empty)}: no class folders)" if empty else ""
    return (
        f"{layout.folder.path} has no labelled images for {' and '.join(missing)}{without}: "
        f"{sizes} are taken from the {total:,} training images, stratified and seeded"
    )
