"""A seeded part of a data set, for shorter runs."""

import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from data.cache import Cache
from data.dataset import FORMAT, SPLITS, DataError, Dataset
from data.split import stratified


def part_of(whole: Dataset, cache: Cache, *, images: int, seed: int) -> Dataset:
    """About ``images`` of the training images, and the same share of the other two splits.

    Each class keeps its share of each split, at least one image.

    Args:
        whole: The data set; returned as is if it has no more images than requested.
        cache: Where the part is stored.
        images: Number of training images.
        seed: Seed of the selection.

    Raises:
        DataError: Fewer images than classes are requested, or the cache cannot be written.
    """
    total = len(whole.train.labels)
    if images >= total:
        return whole
    if images < len(whole.classes):
        raise DataError(
            f"--images {images}: {whole.name} needs at least {len(whole.classes)}, one per class"
        )
    fingerprint, *formerly = (
        hashlib.sha256(f"part {FORMAT} {of} {images} {seed}".encode()).hexdigest()[:16]
        for of in (whole.fingerprint, *whole.formerly)
    )
    cached = cache.find(fingerprint)
    if cached is not None:
        return replace(_renamed(cached, whole, cache), formerly=tuple(formerly))
    share = Fraction(images, total)
    parts = {}
    with cache.entry() as entry:
        for name in SPLITS:
            split = getattr(whole, name)
            shares = {"rest": 1 - share, "part": share}
            rows = stratified(split.labels, seed, shares)["part"]
            entry.finish(name, split.images[rows], split.labels[rows])
            parts[name] = _sizes(split.parts, rows)
        made = entry.commit(fingerprint, name="", source="", classes=whole.classes, parts=parts)
    return replace(_renamed(made, whole, cache), formerly=tuple(formerly))


def _renamed(part: Dataset, whole: Dataset, cache: Cache) -> Dataset:
    """A part with the current name, source and warnings of its data set."""
    kept, total = len(part.train.labels), len(whole.train.labels)
    name = f"{whole.name} ({kept:,} images)"
    source = f"{kept:,} of {total:,} training images of {whole.source}"
    return replace(cache.renamed(part, name, source), warnings=whole.warnings)


def _sizes(parts: tuple[int, ...], rows: npt.NDArray[np.int64]) -> list[int]:
    """Number of rows (ascending) in each of the consecutive parts."""
    ends = np.searchsorted(rows, np.cumsum(parts))
    return [int(size) for size in np.diff(ends, prepend=0)]
