"""What a classifier's probabilities say of its mistakes, as plain values: no Keras here."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MISTAKES = 16  # as many as a page shows


@dataclass(frozen=True)
class Mistake:
    """An image that was classified wrongly.

    Attributes:
        image: Its place among the images.
        truth: Number of its class.
        predicted: Number of the class it was taken for.
        probability: What the network gave that class, 0 to 1.
    """

    image: int
    truth: int
    predicted: int
    probability: float


def most_confident_mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32], most: int = MISTAKES
) -> tuple[Mistake, ...]:
    """The wrongly classified images that the network was surest of, surest first.

    Args:
        probabilities: Of each class, shape (images, classes).
        labels: Numbers of the true classes, shape (images,).
        most: How many at the most.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    sureness = probabilities[wrong, predicted[wrong]]
    surest = wrong[np.argsort(-sureness, kind="stable")[:most]]
    return tuple(
        Mistake(int(n), int(labels[n]), int(predicted[n]), float(probabilities[n, predicted[n]]))
        for n in surest
    )
