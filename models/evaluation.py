"""Results of a classifier on labelled images, as plain values without Keras."""

from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class ClassFigures:
    """How well a classifier does on one class; NaN where there is nothing to count.

    Attributes:
        images: Number of images of the class.
        precision: Share of the images said to be of the class that are, 0 to 1.
        recall: Share of the images of the class that are said to be, 0 to 1.
        f1: Harmonic mean of the two.
    """

    images: int
    precision: float
    recall: float
    f1: float


def per_class(confusion: npt.ArrayLike) -> list[ClassFigures]:
    """The figures of every class.

    Args:
        confusion: (classes, classes) counts: rows are true classes, columns predicted ones.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    right, true, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        columns = right / said, right / true, 2 * right / (true + said)
    return [ClassFigures(int(n), *map(float, row)) for n, *row in zip(true, *columns, strict=True)]


def accuracy(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> float:
    """The share of images classified correctly. Arguments as of ``macro_f1``."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def macro_f1(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> float:
    """The mean F1 score of the classes that have images.

    Args:
        probabilities: Of each class, shape (images, classes).
        labels: Numbers of the true classes, shape (images,).
    """
    classes = probabilities.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    return float(np.mean([each.f1 for each in per_class(confusion) if each.images]))


def macro_auc(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> float:
    """The mean area under the ROC curve of each class against all others.

    The area is the probability that an image of the class has a higher probability of it than
    another image; equal ones count half (Mann and Whitney, 1947). Classes without images, or with
    all of them, are left out; NaN if none is left. Arguments as of ``macro_f1``.
    """
    areas = []
    for number in range(probabilities.shape[1]):
        of_class = labels == number
        inside, outside = int(of_class.sum()), int((~of_class).sum())
        if inside and outside:
            _, place, ties = np.unique(
                probabilities[:, number], return_inverse=True, return_counts=True
            )
            ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]  # from 1; the mean of equal ones
            above = ranks[of_class].sum() - inside * (inside + 1) / 2
            areas.append(float(above / (inside * outside)))
    return float(np.mean(areas)) if areas else float("nan")


OF_PREDICTIONS: Mapping[str, Callable[..., float]] = {
    "val_macro_f1": macro_f1,
    "val_auc": macro_auc,
}
"""Functions of the figures of ``models.history.OF_PREDICTIONS``."""


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
