"""Stratified splits of the training and validation images, to see how much a result depends on one.

The test images stay out of it.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset, Split

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One of several splits: each has another part of the images to validate with.

    Attributes:
        number: Its number, from 0.
        count: Number of splits.
        seed: The same seed gives the same splits.
    """

    number: int
    count: int
    seed: int


class _Joined:
    """Some rows of two arrays of images, read when they are used."""

    def __init__(self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], rows: Rows):
        self._first, self._second, self._rows = first, second, rows
        self.shape = (len(rows), *first.shape[1:])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.uint8]:
        rows = self._rows[chosen]
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        early = rows < len(self._first)
        images[early] = self._first[rows[early]]
        images[~early] = self._second[rows[~early] - len(self._first)]
        return images


def most_folds(data: Dataset) -> int:
    """The largest number of splits in which each class has an image to validate with."""
    return int(min(np.bincount(_labels(data), minlength=len(data.classes))))


def folded(data: Dataset, fold: Fold) -> Dataset:
    """The data set with the fold's split into training and validation images.

    Every image is in the validation of exactly one of the folds, and each class has about the same
    share of each. With the training images in folders, the former validation images are one more.
    """
    labels = _labels(data)
    random = np.random.default_rng((fold.seed, fold.count))
    part = np.empty(len(labels), np.int64)
    start = 0
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        # Each class goes on where the one before ended, so that parts have about equal sizes.
        part[rows] = (start + np.arange(len(rows))) % fold.count
        start += len(rows)
    ends = np.cumsum((*data.train.parts, len(data.validation.labels)))

    def split(rows: Rows) -> Split:
        images = _Joined(data.train.images, data.validation.images, rows)
        sizes = np.diff(np.searchsorted(rows, ends), prepend=0)
        parts = tuple(int(size) for size in sizes if size)
        return Split(cast("npt.NDArray[np.uint8]", images), labels[rows], parts)

    return replace(
        data,
        train=split(np.flatnonzero(part != fold.number)),
        validation=split(np.flatnonzero(part == fold.number)),
    )


def _labels(data: Dataset) -> npt.NDArray[np.int32]:
    return np.concatenate([data.train.labels, data.validation.labels])
