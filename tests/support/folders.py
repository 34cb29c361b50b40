"""Image folders in the layouts that treino reads, and what is said of them."""

from pathlib import Path

import pytest
from PIL import Image

from data.catalog import load
from data.dataset import SPLITS, DataError, Dataset
from data.folder import Scan, scan

COLOURS = {"red": (250, 10, 10), "blue": (10, 10, 250)}


def save(path: Path, colour: tuple[int, int, int] = (1, 2, 3), number: int = 0) -> Path:
    """A small image, unlike any of another number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (10, 10), colour)
    image.putpixel((number % 10, number // 10 % 10), (0, 255, number // 100))
    image.save(path)
    return path


def documents_layout(root: Path, trains: tuple[int, ...] = (3, 2)) -> Path:
    """train/train1..N/<class>, validation/<class>, test/<class>; sizes a class and folder."""
    number = 0
    for label, (name, colour) in enumerate(COLOURS.items()):
        folders = {f"train/train{n}": size for n, size in enumerate(trains, 1)}
        for where, size in (folders | {"validation": 2, "test": 1}).items():
            for _ in range(size):
                number += 1
                save(root / where / f"{label:03d}_{name}" / f"{number}.png", colour, number)
    return root


def open_folder(root: Path, cache: Path, **options: object) -> Dataset:
    return load(str(root), image_size=8, cache=cache, **options).dataset  # type: ignore[arg-type]


def said(root: Path, cache: Path, **options: object) -> str:
    """The error's one line."""
    with pytest.raises(DataError) as caught:
        open_folder(root, cache, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def fill(root: Path, *folders: str, each: int = 10) -> Path:
    """A folder with ``each`` empty PNG files in each of the folders below it."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            (root / folder / f"{number}.png").touch()
    return root


def both(*parents: str) -> list[str]:
    """Folders of two classes in each of the parents."""
    return [f"{parent}/{name}" for parent in parents for name in ("a", "b")]


def sizes(found: Scan) -> tuple[int, ...]:
    """Images of each split."""
    return tuple(len(found.splits[split].files) for split in SPLITS)


def refused(root: Path) -> str:
    """The error's one line."""
    with pytest.raises(DataError) as caught:
        scan(root, 0)
    line = str(caught.value)
    line.encode()
    assert len(line.splitlines()) == 1
    return line
