"""How long networks take to classify an image."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

WARM_UP = 5  # first calls, which trace and allocate
REPEATS = 50  # timed calls
LONGEST = 5.0  # seconds per model after which no further call is timed


def milliseconds(models: Sequence[keras.Model], image: npt.NDArray[np.uint8]) -> list[float]:
    """Time in ms that this process takes to classify one image, in a batch of its own.

    It is the shortest of REPEATS calls: other work on the machine only adds to it. The models take
    turns, so that such work slows all of them alike.

    Args:
        models: The networks.
        image: A raw image, (height, width, channels).
    """
    batch: Any = image[np.newaxis]
    for model in models:
        for _ in range(WARM_UP):
            model.predict_on_batch(batch)
    times: list[list[float]] = [[] for _ in models]
    while len(times[0]) < REPEATS and sum(map(sum, times)) < LONGEST * len(models):
        for model, of_model in zip(models, times, strict=True):
            start = time.perf_counter()
            model.predict_on_batch(batch)
            of_model.append(time.perf_counter() - start)
    return [1000 * min(of_model) for of_model in times]
