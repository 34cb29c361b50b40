"""From arrays of images to batches, in an order that depends on seed and epoch alone."""

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.spec import EVALUATION_BATCH


class Images(Protocol):
    """Labelled images: what this package needs to know of a data set's split."""

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
    """The order in which an epoch sees its images: part after part, each shuffled.

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


class TrainingBatches:
    """Shuffled batches; each pass over ``dataset`` is the epoch that ``epoch`` then names.

    The images stay where they are (memory-mapped, shared by all processes that read them);
    only a batch at a time is copied.
    """

    def __init__(self, split: Images, batch_size: int, *, seed: int, by_parts: bool) -> None:
        self.epoch = 1
        self._split = split
        self._batch_size = batch_size
        self._seed = seed
        self._parts = split.parts if by_parts else (len(split.labels),)
        self.dataset = _dataset(split, self._batches, batch_size)

    def _batches(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]:
        order = epoch_order(self._parts, self._seed, self.epoch)
        for start in range(0, len(order), self._batch_size):
            # In sorted order a memory map is read forwards; within a batch order means nothing.
            rows = np.sort(order[start : start + self._batch_size])
            yield self._split.images[rows], self._split.labels[rows]


def evaluation_batches(split: Images) -> tf.data.Dataset:
    """All images of ``split`` in their own order, in large batches."""

    def batches() -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]:
        for start in range(0, len(split.labels), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            yield split.images[rows], split.labels[rows]

    return _dataset(split, batches, EVALUATION_BATCH)


def _dataset(
    split: Images,
    batches: Callable[[], Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]]],
    batch_size: int,
) -> tf.data.Dataset:
    signature = (
        tf.TensorSpec((None, *split.images.shape[1:]), tf.as_dtype(split.images.dtype)),
        tf.TensorSpec((None,), tf.int32),
    )
    steps = math.ceil(len(split.labels) / batch_size)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    # Keras would otherwise learn the length from the first epoch, and warn that data ran out.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return dataset.with_options(options)
