"""Warnings of a folder scan: files left out, and assumptions about the rest."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data.names import printable
from data.tree import HEIF_SUFFIXES, KINDS, Folder, ImageFile, heic_readable

SHOWN = 5  # files, folders or classes that a line names at most


class Remarks:
    """Warnings collected while a folder is scanned.

    Args:
        root: The folder; paths in warnings are relative to it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._told: list[str] = []
        self._others: dict[str, Counter[str]] = defaultdict(Counter)
        self._below: Counter[str] = Counter()
        self._images: Counter[str] = Counter()
        self._links: list[str] = []

    def add(self, line: str) -> None:
        """Add a warning."""
        self._told.append(printable(line))

    def images_of(self, name: str, folder: Folder) -> Iterator[ImageFile]:
        """The images of a class folder and its subfolders; notes what is left out there."""
        for inner in folder.walk():
            images = inner.images
            self._images[name] += len(images)
            if inner is not folder:
                self._below[name] += len(images)
            if inner.others:
                self._others[name] += inner.others
            self._links += [self._short(sub) for sub in inner.folders.values() if sub.linked]
            self.links_of(inner)
            yield from images

    def links_of(self, folder: Folder) -> None:
        """Note the links of a folder that are left out."""
        self._links += [f"{self._short(folder)}/{name}".lstrip("/") for name in folder.links]

    def beside(self, folder: Folder, used: Iterable[Folder]) -> None:
        """Note images in a folder of splits or classes that are in none of the ``used`` folders."""
        used_paths = {sub.path for sub in used}
        self.links_of(folder)
        unused = [sub for sub in folder.folders.values() if sub.path not in used_paths]
        if names := [self._short(sub) for sub in unused if sub.shows_images()]:
            self.add(f"left out images in {some(names)}: not a folder of a split or a class")
        if count := folder.image_count:
            images = "1 image" if count == 1 else f"{count:,} images"
            self.add(f"left out {images} directly in {folder.path}: outside of class folders")

    def found_in(self, name: str) -> str:
        """What a class has instead of images, in parentheses; empty if it has nothing."""
        return f" ({_kinds(self._others[name])})" if self._others[name] else ""

    def lines(self) -> tuple[str, ...]:
        """All warnings, one line each."""
        return (*self._told, *self._nested(), *self._left_out())

    def _nested(self) -> Iterator[str]:
        below = [
            f"{name}: {count:,} of {self._images[name]:,}"
            for name, count in self._below.items()
            if count
        ]
        if below:
            yield printable(
                f"images in subfolders of a class folder count as images of the class "
                f"({some(below)})"
            )

    def _left_out(self) -> Iterator[str]:
        needs_package = set() if heic_readable() else HEIF_SUFFIXES
        heif, others = [], []
        for name, kinds in self._others.items():
            if mine := Counter({k: n for k, n in kinds.items() if k in needs_package}):
                heif.append(f"{name}: {_kinds(mine)}")
            if mine := Counter({k: n for k, n in kinds.items() if k not in needs_package}):
                others.append(f"{name}: {_kinds(mine)}")
        if heif:
            yield printable(
                f"left out HEIC images ({some(heif)}): `.venv/bin/pip install pillow-heif` "
                "makes them readable"
            )
        if others:
            yield printable(f"left out files that are not {KINDS} ({some(others)})")
        if self._links:
            yield printable(
                f"left out links ({some(self._links)}): they are broken, lead up, or lead from a "
                "class folder to another folder"
            )

    def _short(self, folder: Folder) -> str:
        return folder.path.removeprefix(str(self._root)).lstrip("/")


def some(items: Sequence[str]) -> str:
    """The first of the items and how many more there are."""
    more = f" and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more


def _kinds(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
