"""Misclassified images of a classifier, as plain values without Keras."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MISTAKES = 16  # as many as a report shows


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        image: Its index among the images.
        truth: Number of its class.
        predicted: Number of the predicted class.
        probability: Probability of the predicted class, 0 to 1.
    """

    image: int
    truth: int
    predicted: int
    probability: float


def most_confident_mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32], most: int = MISTAKES
) -> tuple[Mistake, ...]:
    """The misclassified images with the highest predicted probability, highest first.

    Args:
        probabilities: Of each class, shape (images, classes).
        labels: Numbers of the true classes, shape (images,).
        most: Maximum number.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    sureness = probabilities[wrong, predicted[wrong]]
    surest = wrong[np.argsort(-sureness, kind="stable")[:most]]
    return tuple(
        Mistake(int(n), int(labels[n]), int(predicted[n]), float(probabilities[n, predicted[n]]))
        for n in surest
    )
