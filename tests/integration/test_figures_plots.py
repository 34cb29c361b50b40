"""The pictures: right size, readable whatever the figures are, and showing what happened."""

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.history import EpochFigures
from search.figures.plots import draw_confusion, draw_curves, draw_panels, new_figure
from storage.errors import StorageError

ROOT = Path(__file__).parents[2]
TRAINING = (0x00, 0x72, 0xB2)
VALIDATION = (0xD5, 0x5E, 0x00)
DROP = (0xB0, 0xB0, 0xB0)
NO_IMAGES = (0xE4, 0xE4, 0xE4)
FULL = (8, 48, 107)  # the colour of 100 %


def epoch(
    number: int,
    loss: float = 1.0,
    accuracy: float = 0.6,
    val_loss: float = 1.2,
    val_accuracy: float = 0.5,
    rate: float = 1e-3,
) -> EpochFigures:
    return EpochFigures(
        epoch=number,
        loss=loss,
        accuracy=accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        penalised_loss=loss,
        penalised_val_loss=val_loss,
        learning_rate=rate,
        seconds=1.0,
    )


def noisy(epochs: int) -> list[EpochFigures]:
    noise = np.random.default_rng(0).normal(0, 0.05, (epochs, 4))
    return [
        epoch(
            number,
            0.3 + 2.5 / number + noise[number - 1, 0],
            1 - 0.7 / number + noise[number - 1, 1],
            0.6 + 2 / number + noise[number - 1, 2],
            0.9 - 0.7 / number + noise[number - 1, 3],
            1e-3 / 2 ** (number // 70),
        )
        for number in range(1, epochs + 1)
    ]


def pixels(path: Path) -> np.ndarray:
    """The picture, shape (height, width, 3)."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Which pixels have that colour, shape (height, width)."""
    return np.abs(picture - np.array(colour)).max(axis=-1) <= 12


def columns(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Which columns have pixels of that colour, shape (width,)."""
    return np.asarray(has(picture, colour).any(axis=0))


def curves(history: Sequence[EpochFigures], path: Path) -> np.ndarray:
    """The drawn curves without title and legend: only the panels and their axes."""
    draw_curves(history, path, "")
    picture = pixels(path)
    assert picture.shape == (400, 1000, 3)
    return picture[:360]


@pytest.mark.parametrize("epochs", [0, 1, 1000])
def test_curves_fit_any_number_of_epochs(tmp_path: Path, epochs: int) -> None:
    path = tmp_path / "curves.png"
    panels = curves(noisy(epochs), path)
    for half in (panels[:, :500], panels[:, 500:]):
        assert has(half, TRAINING).any() == (epochs > 0)
        assert has(half, VALIDATION).any() == (epochs > 0)
    assert path.stat().st_size < 100_000
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_a_figure_that_is_not_finite_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    lost = {4: math.nan, 5: math.inf, 6: -math.inf, 7: math.nan, 8: math.nan}
    lines, crosses = slice(0, 302), slice(302, 360)  # rows
    gap = slice(200, 330)  # columns between the epochs 4 and 8

    history = [epoch(number, val_loss=lost.get(number, 1.2)) for number in range(1, 12)]
    loss = curves(history, path)[:, :500]
    validation = columns(loss[lines], VALIDATION)
    assert validation[: gap.start].any()
    assert validation[gap.stop :].any()
    assert not validation[gap].any()
    assert columns(loss[lines], TRAINING)[gap].all()
    assert has(loss[crosses], VALIDATION)[:, gap].any()
    assert not has(loss[crosses], TRAINING).any()

    whole = curves([epoch(number) for number in range(1, 12)], path)[:, :500]
    assert columns(whole[lines], VALIDATION)[gap].all()
    assert not has(whole[crosses], VALIDATION).any()


@pytest.mark.parametrize(
    ("rates", "marked"),
    [
        ([1e-3] * 6, False),
        ([1e-3] * 3 + [5e-4] * 3, True),
        ([1e-4, 1e-3, 1e-3], False),  # a warm-up raises it
        ([1e-3 * 0.9**number for number in range(30)], False),  # lowered all the time
        ([math.nan, 1e-3, math.nan], False),
    ],
)
def test_drops_of_the_learning_rate_are_marked(
    tmp_path: Path, rates: list[float], marked: bool
) -> None:
    history = [epoch(number, rate=rate) for number, rate in enumerate(rates, 1)]
    panels = curves(history, tmp_path / "curves.png")
    for half in (panels[:, :500], panels[:, 500:]):
        assert (has(half, DROP).sum(axis=0).max() > 80) == marked  # a line down the panel


def test_the_best_epoch_is_ringed_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    left, right = (
        curves([epoch(n, val_loss=1.0 if n == best else 1.2) for n in range(1, 10)], path)
        for best in (2, 8)
    )
    middle = (slice(90, 300), slice(80, 480))  # within the loss panel, without axes and titles
    columns = [np.nonzero((p[middle].sum(axis=-1) < 60).any(axis=0))[0] for p in (left, right)]
    assert columns[0].max() < columns[1].min()


def test_the_ring_is_at_the_epoch_that_is_best_by_the_monitored_figure() -> None:
    history = [
        epoch(1, val_loss=0.5, val_accuracy=0.7),
        epoch(2, val_loss=0.6, val_accuracy=0.9),
        epoch(3, val_loss=0.7, val_accuracy=0.8),
    ]
    for monitor, best, told in (
        ("val_loss", 0.7, "lowest validation loss"),
        ("val_accuracy", 0.9, "highest val_accuracy"),
    ):
        drawn = new_figure(5, 4, fitted=False)
        axes = drawn.add_subplot()
        draw_panels(drawn, {"accuracy": axes}, history, monitor=monitor)
        assert axes.get_title(loc="right").startswith(f"validation {best:.4f} at epoch")
        (legend,) = drawn.legends
        assert told in [text.get_text() for text in legend.get_texts()]


figure = st.floats(width=32)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(figure, figure, figure, figure, figure), max_size=6), st.text())
def test_curves_of_any_figures_can_be_drawn(
    tmp_path: Path, rows: list[tuple[float, float, float, float, float]], title: str
) -> None:
    path = tmp_path / "curves.png"
    history = [epoch(number, *row) for number, row in enumerate(rows, 1)]
    draw_curves(history, path, title, subtitle=title)
    assert pixels(path).shape == (400, 1000, 3)


TITLES = ["coração, maçã, ñ, ü", "$x_{", "\\frac", "日本", "x" * 500, ""]


@pytest.mark.parametrize(("title", "subtitle"), list(zip(TITLES[::2], TITLES[1::2], strict=True)))
def test_titles_of_any_kind(tmp_path: Path, title: str, subtitle: str) -> None:
    path = tmp_path / "picture.png"
    draw_curves([epoch(1)], path, title, subtitle=subtitle)
    assert pixels(path).shape == (400, 1000, 3)
    draw_confusion(np.eye(len(TITLES), dtype=int), TITLES, path, title)
    assert pixels(path).size


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        draw_curves([epoch(1)], tmp_path / "file" / "curves.png", "")


@pytest.mark.parametrize("count", [1, 13, 100])
def test_confusion_fits_up_to_a_hundred_classes(tmp_path: Path, count: int) -> None:
    path = tmp_path / "confusion.png"
    matrix = np.random.default_rng(0).integers(0, 30, (count, count)) + 500 * np.eye(count)
    classes = [f"classe número {number} de muitas" for number in range(count)]
    draw_confusion(matrix.astype(int), classes, path, "test images")
    height, width, _ = pixels(path).shape
    assert height <= 1000
    assert width <= 1100
    assert path.stat().st_size < 100_000


def test_confusion_shows_shares_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"

    def area(matrix: list[list[int]]) -> int:
        draw_confusion(np.array(matrix), ["cat", "dog"], path, "")
        return int(has(pixels(path), FULL).sum())

    few, many = area([[1, 0], [0, 1]]), area([[1, 0], [0, 1000]])
    assert few == pytest.approx(many, rel=0.05)
    # By columns, one cell of two would be as dark as here.
    assert area([[1, 0], [1000, 0]]) == pytest.approx(few, rel=0.05)
    assert area([[1, 1], [1, 1]]) < few / 20


def test_a_class_without_images_is_grey(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"
    for matrix, grey in (([[5, 0], [0, 5]], 0), ([[5, 0], [0, 0]], 1), ([[0, 0], [0, 0]], 2)):
        draw_confusion(np.array(matrix), ["cat", "dog"], path, "")
        picture = pixels(path)
        share = has(picture, NO_IMAGES).mean()
        assert 0.15 * grey <= share <= 0.01 + 0.3 * grey


@pytest.mark.parametrize("shape", [(0, 0), (2, 2), (3, 2), (3,)])
def test_confusion_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    classes = ["a", "b", "c"] if shape != (0, 0) else []
    with pytest.raises(ValueError, match="counts"):
        draw_confusion(np.zeros(shape, dtype=int), classes, tmp_path / "confusion.png", "")


def test_importing_is_free_and_drawing_touches_no_global_figure(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from search.figures import plots
heavy = {"matplotlib", "PIL", "tensorflow", "keras", "optuna", "sqlalchemy"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
plots.draw_curves([], Path(sys.argv[1]), "")
plots.draw_confusion(np.eye(2), ["a", "b"], Path(sys.argv[1]), "")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "x.png"], cwd=ROOT, check=True)


def test_nothing_is_written_where_the_title_is() -> None:
    """Losses that hardly differ, as of a network that learns nothing, have no offset there."""
    figure = new_figure(5, 4, fitted=False)
    flat = [epoch(n, 2.302580 + n * 1e-6, val_loss=2.302590 + n * 1e-6) for n in range(1, 9)]
    axes = figure.add_subplot()
    draw_panels(figure, {"loss": axes}, flat)
    figure.draw_without_rendering()
    assert axes.yaxis.get_offset_text().get_text() == ""
