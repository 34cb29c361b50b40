"""Test results of a delivered model, stored beside it with its most confident mistakes."""

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.dataset import Dataset
from models.evaluation import per_class
from models.spec import Spec, SpecError
from search.figures import plots
from search.protocol import TestFigures
from storage.errors import StorageError
from storage.files import Layout, RunFiles
from storage.tables import ModelRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST = 96  # maximum height and width of a stored image, in pixels
_COLUMNS = 4


class Wrong(Spec):
    """A misclassified image.

    Attributes:
        truth: True class.
        predicted: Predicted class.
        probability: Probability that the model gave the predicted class, 0 to 1.
        png: The image as a small PNG, in base64.
    """

    truth: str
    predicted: str
    probability: float
    png: str

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The image, shape (side, side, 3)."""
        with Image.open(io.BytesIO(base64.b64decode(self.png))) as image:
            return np.asarray(image.convert("RGB"))


class EvaluationRecord(Spec):
    """Results of a model on the test images.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share of correctly classified images, 0 to 1.
        classes: Names of the classes.
        confusion: Counts; rows are true classes, columns are predicted classes.
        mistakes: The most confidently misclassified images, most confident first.
    """

    loss: float
    accuracy: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Wrong, ...]

    @classmethod
    def of(cls, figures: TestFigures, data: Dataset) -> "EvaluationRecord":
        """The record of a worker's results on the test images of ``data``."""
        return cls(
            loss=figures.loss,
            accuracy=figures.accuracy,
            classes=data.classes,
            confusion=figures.confusion,
            mistakes=tuple(
                Wrong(
                    truth=data.classes[mistake.truth],
                    predicted=data.classes[mistake.predicted],
                    probability=mistake.probability,
                    png=_png(data.test.images[mistake.image]),
                )
                for mistake in figures.mistakes
            ),
        )

    def class_rows(self) -> list[tuple[str, ...]]:
        """Name, images, precision, recall and F1 of each class as text, with a row of means.

        The precision of a class that was never predicted is undefined. In the mean it counts 0, as
        the F1 of the class does.
        """
        figures = per_class(self.confusion)
        rows = [
            (name, f"{of.images:,}", *map(_share, (of.precision, of.recall, of.f1)))
            for name, of in zip(self.classes, figures, strict=True)
        ]
        shown = [of for of in figures if of.images]
        means = (
            _share(sum(0 if math.isnan(v) else v for v in values) / len(shown))
            for values in zip(*((of.precision, of.recall, of.f1) for of in shown), strict=True)
        )
        return [*rows, ("mean", f"{self.images:,}", *means)]

    @property
    def images(self) -> int:
        """Number of test images."""
        return sum(map(sum, self.confusion))


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def read(files: RunFiles, accuracy: float) -> EvaluationRecord | None:
    """The stored test results of a model; None if missing or with another accuracy."""
    try:
        tested = EvaluationRecord.from_json(files.tested.read_bytes())
    except (OSError, SpecError, StorageError):
        return None
    return tested if tested.accuracy == accuracy else None


def test_images(layout: Layout, model: ModelRow) -> int | None:
    """Number of images a model was tested on; None if that is not stored."""
    folders = (layout.run(model.study, model.run), layout.best(model.study))
    records = (read(files, model.test_accuracy) for files in folders)
    return next((record.images for record in records if record is not None), None)


def mistakes_figure(tested: EvaluationRecord, title: str) -> "Figure":
    """The misclassified images, each with its true and its predicted class."""
    count = len(tested.mistakes)
    rows = max(1, math.ceil(count / _COLUMNS))
    figure = plots.new_figure(4.8, 0.5 + 1.6 * rows)
    figure.suptitle(title, fontsize=11, x=0.02, ha="left", parse_math=False, color=plots.INK)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, wrong in zip(panels, tested.mistakes, strict=False):
        axes.imshow(wrong.pixels, interpolation="nearest")
        text = "\n".join(
            (
                f"is {plots.shortened(wrong.truth, 12)}",
                f"said {plots.shortened(wrong.predicted, 12)}",
                f"{min(wrong.probability, 0.9999):.2%}",
            )
        )
        axes.set_title(text, fontsize=8.5, parse_math=False, color=plots.INK, **plots.TITLE)
    if not count:
        panels[0].text(0, 0.5, "every test image was classified correctly", color=plots.INK)
    return figure


def draw_mistakes(tested: EvaluationRecord, path: Path, title: str) -> None:
    """Draw the misclassified images as a PNG.

    Raises:
        StorageError: The file cannot be written.
    """
    subtitle = f"{plots.shortened(title, 50)}: most confidently wrong"
    plots.save(mistakes_figure(tested, subtitle), path)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    packed = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST, _LARGEST))
    image.save(packed, format="png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode("ascii")
