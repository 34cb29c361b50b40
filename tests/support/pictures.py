"""Small data sets that a small network can learn, for tests that really train."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.catalog import load
from data.dataset import Dataset


@dataclass(frozen=True)
class Pictures:
    """Labelled images, as models.pipeline.Images wants them."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Sets:
    """Three splits, as models.training.Data wants them."""

    train: Pictures
    validation: Pictures
    test: Pictures
    classes: tuple[str, ...] = ("dark", "grey", "light")


def pictures(
    count: int, seed: int, parts: tuple[int, ...] | None = None, side: int = 8
) -> Pictures:
    """Noisy images whose brightness is their class, 0, 1 or 2."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 3).astype(np.int32)
    noise = random.normal(0, 40, (count, side, side, 3))
    images = np.clip(60 + 65 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return Pictures(images, labels, parts or (count,))


def sets() -> Sets:
    """96 training images in two parts, 30 to validate with, 30 to test with; 8 pixels."""
    return Sets(pictures(96, 1, parts=(60, 36)), pictures(30, 2), pictures(30, 3))


def image_folder(root: Path, each: int = 12, side: int = 8) -> Path:
    """A folder of class folders (dark, grey, light) with ``each`` PNG images a class."""
    made = pictures(3 * each, 4, side=side)
    for number, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
        folder = root / ("dark", "grey", "light")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return root


def decoded(folder: Path) -> Dataset:
    """The images of ``image_folder`` at 8 pixels, with their files and the cache in ``folder``."""
    images = image_folder(folder / "images")
    return load(str(images), image_size=8, cache=folder / "cache").dataset
