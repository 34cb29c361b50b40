"""Batches from arrays of images, in an order that depends only on seed and epoch."""

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.spec import EVALUATION_BATCH

PIECE = 2 * 2**20  # bytes of images gathered at once, unless a batch is larger
_AUGMENTATION = 1  # separates the random numbers of augmentation from those of the order


class Images(Protocol):
    """Labelled images of a split, as this package needs them."""

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """(n, height, width, channels), 0 to 255."""

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """(n,), numbers of classes."""

    @property
    def parts(self) -> tuple[int, ...]:
        """Sizes of the consecutive folders that the images came in; they add up to n."""


def epoch_order(parts: tuple[int, ...], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of images in an epoch: part after part, each shuffled.

    Args:
        parts: Sizes of the consecutive parts; one part is a plain shuffle.
        seed: The training's seed.
        epoch: The epoch, from 1.

    Returns:
        A permutation of ``range(sum(parts))``, the same for the same arguments.
    """
    random = np.random.default_rng((seed, epoch))
    starts = np.cumsum((0, *parts[:-1]))
    return np.concatenate(
        [start + random.permutation(size) for start, size in zip(starts, parts, strict=True)]
    )


def augmented(
    images: npt.NDArray[np.uint8], chances: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Images (n, height, width, channels), each flipped left to right or not, and shifted.

    A shift is up to an eighth of the side, in pixels, vertically and horizontally. The border is
    filled with the image's reflection.

    Args:
        images: The images.
        chances: (n, 3) random numbers from 0 to below 1: they decide shifts and flips.
    """
    _, height, width, _ = images.shape
    most = height // 8
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    shifts = (chances[:, :2] * (2 * most + 1)).astype(int)
    out = np.empty_like(images)
    for number, (down, right) in enumerate(shifts):
        cut = padded[number, down : down + height, right : right + width]
        out[number] = cut[:, ::-1] if chances[number, 2] < 0.5 else cut
    return out


class TrainingBatches:
    """Shuffled batches; each pass over ``dataset`` is the epoch that ``epoch`` then names.

    The images stay where they are (memory-mapped, shared by all processes that read them);
    only a few batches at a time are copied.
    """

    def __init__(
        self,
        split: Images,
        batch_size: int,
        *,
        seed: int,
        by_parts: bool,
        augment: bool = False,
    ) -> None:
        self.epoch = 1
        self._split = split
        self._batch_size = batch_size
        self._seed = seed
        self._parts = split.parts if by_parts else (len(split.labels),)
        self._augment = augment
        self.dataset = _dataset(split, self._pieces, batch_size)

    def _pieces(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]:
        order = epoch_order(self._parts, self._seed, self.epoch)
        for start in range(0, len(order), self._batch_size):
            # Sorted, so that a memory map is read forwards; order within a batch does not matter.
            order[start : start + self._batch_size].sort()
        # All drawn at once, so they do not depend on the pieces.
        random = np.random.default_rng((self._seed, self.epoch, _AUGMENTATION))
        chances = random.random((len(order), 3))
        a_batch = self._batch_size * math.prod(self._split.images.shape[1:])
        piece = self._batch_size * max(1, PIECE // a_batch)
        for start in range(0, len(order), piece):
            rows = order[start : start + piece]
            images = self._split.images[rows]
            if self._augment:
                images = augmented(images, chances[start : start + piece])
            yield images, self._split.labels[rows]


def evaluation_batches(split: Images) -> tf.data.Dataset:
    """All images of ``split`` in stored order, in large batches."""

    def pieces() -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]:
        for start in range(0, len(split.labels), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            yield split.images[rows], split.labels[rows]

    return _dataset(split, pieces, EVALUATION_BATCH)


def _dataset(
    split: Images,
    pieces: Callable[[], Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches cut from ``pieces``, which hold whole batches, except the last."""
    signature = (
        tf.TensorSpec((None, *split.images.shape[1:]), tf.as_dtype(split.images.dtype)),
        tf.TensorSpec((None,), tf.int32),
    )
    steps = math.ceil(len(split.labels) / batch_size)
    # TensorFlow calls Python for each piece, which costs as much as copying many images.
    dataset = tf.data.Dataset.from_generator(pieces, output_signature=signature)
    dataset = dataset.rebatch(batch_size)
    # Otherwise Keras learns the length from the first epoch, and warns that data ran out.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    # There is nothing to tune. The tuning thread sleeps up to a minute, longer for longer epochs,
    # and sometimes misses that its iterator closes, which then waits for it.
    options.autotune.enabled = False
    return dataset.with_options(options)
