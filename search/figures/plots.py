"""Figures of a training: its curves and its confusion matrix.

They use matplotlib's object interface: no display, no global figure. Matplotlib is imported on
first use.
"""

import io
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from models.history import MAXIMISED, best_epoch
from storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito, which suits any kind of colour vision.
BLUE = "#0072B2"
VERMILION = "#D55E00"
ORANGE = "#E69F00"
GREEN = "#009E73"
GREY = "#9AA0A6"
INK = "#1B1F24"
MUTED = "#6A6F76"
LINES = "#E6E6E6"
_TRAINING = BLUE
_VALIDATION = VERMILION
_DROP: dict[str, Any] = {"color": "#B0B0B0", "linewidth": 1, "linestyle": (0, (2, 2))}
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 1.5,
    "linestyle": "",
}

# Fixed title position, to use with `plain_numbers`. Otherwise matplotlib checks for overlapping
# ticks at every draw, which takes a tenth of the time.
TITLE: dict[str, Any] = {"y": 1.0}

_DOTS_PER_INCH = 100
_LOG_SCALE_FROM = 20.0  # ratio of highest to lowest loss
_SEPARATE_DROPS = 12  # more drops than that are a schedule and are not marked
_COUNTED_CLASSES = 12
_LABELLED_CLASSES = 50


class EpochLike(Protocol):
    """The figures of one epoch; any of them may be NaN or infinite, but not the epoch."""

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 1."""

    @property
    def loss(self) -> float:
        """Loss on the training images."""

    @property
    def accuracy(self) -> float:
        """Share of training images classified correctly, 0 to 1."""

    @property
    def val_loss(self) -> float:
        """Loss on the validation images."""

    @property
    def val_accuracy(self) -> float:
        """Share of validation images classified correctly, 0 to 1."""

    @property
    def learning_rate(self) -> float:
        """The rate the epoch was trained with."""


def draw_curves(
    history: Sequence[EpochLike],
    path: Path,
    title: str,
    *,
    subtitle: str = "",
    monitor: str = "val_loss",
) -> None:
    """Draw loss and accuracy over the epochs, side by side, as a PNG of 1000 by 400 pixels.

    The best epoch is marked with its values, as are the epochs with a lower learning rate than
    before. A value that is not finite is a gap, with a cross below it.

    Args:
        history: The epochs in order; may be empty.
        path: File of the figure.
        title: Title of the training.
        subtitle: Its result; left out if empty.
        monitor: Name of the figure by which an epoch is the best.

    Raises:
        StorageError: The figure cannot be written.
    """
    # Every trial has this figure, and automatic layout takes a quarter of the time.
    figure = new_figure(10, 4, fitted=False)
    _head(figure, title, subtitle)
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.2, top=0.81, wspace=0.16)
    draw_panels(
        figure,
        dict(zip(("loss", "accuracy"), figure.subplots(1, 2), strict=True)),
        history,
        monitor=monitor,
    )
    save(figure, path)


def draw_panels(
    figure: "Figure",
    panels: Mapping[str, "Axes"],
    history: Sequence[EpochLike],
    *,
    columns: int = 9,
    monitor: str = "val_loss",
) -> None:
    """Draw ``loss`` or ``accuracy`` over the epochs, one panel each, with a common legend below.

    Args:
        figure: The panels' figure.
        panels: The panel of each quantity.
        history: The epochs in order; may be empty.
        columns: Most legend entries per line.
        monitor: As of ``draw_curves``.
    """
    best = best_epoch(history, monitor)
    drops = _drops(history)
    gaps = False
    for name, axes in panels.items():
        values = {key: [float(getattr(e, key)) for e in history] for key in (name, f"val_{name}")}
        finite = [value for line in values.values() for value in line if math.isfinite(value)]
        gaps = gaps or len(finite) < 2 * len(history)
        _frame(axes, name, finite)
        for drop in drops:
            axes.axvline(drop, zorder=1, **_DROP)
        epochs = [figures.epoch for figures in history]
        _line(axes, epochs, values[name], _TRAINING, crosses_at=0.055)
        _line(axes, epochs, values[f"val_{name}"], _VALIDATION, crosses_at=0.02)
        if best is not None:
            _mark(axes, best.epoch, float(getattr(best, f"val_{name}")))
    ring = f"highest {monitor}" if monitor in MAXIMISED else "lowest validation loss"
    _legend(figure, columns, drops=bool(drops), ring=ring if best else "", gaps=gaps)


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix, as a PNG.

    The colour is the share of the true class's images; counts are written in the cells of up to
    12 classes. The row of a class without images is grey.

    Args:
        matrix: Counts, shape (classes, classes); rows are the true class, columns the predicted.
        classes: Names of the classes, in the order of the matrix.
        path: File of the figure.
        title: Title of the figure.

    Raises:
        ValueError: Matrix and classes do not match.
        StorageError: The figure cannot be written.
    """
    save(confusion_figure(matrix, classes, title), path)


def confusion_figure(
    matrix: np.ndarray, classes: Sequence[str], title: str, width: float | None = None
) -> "Figure":
    """The figure of `draw_confusion`; with a ``width`` in inches, without the scale."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    count = len(classes)
    if count == 0 or matrix.shape != (count, count):
        raise ValueError(f"expected a matrix of {count} by {count} counts, not {matrix.shape}")
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(
        matrix / np.maximum(totals, 1), mask=np.broadcast_to(totals == 0, matrix.shape)
    )
    images = int(totals.sum())
    right = f"{np.trace(matrix) / images:.2%} of {images:,} images" if images else "no images"

    side = min(10.0, 3.6 + 0.42 * count)
    figure = new_figure(side + 1, side) if width is None else new_figure(width, width + 0.2)
    _head(figure, title, f"{right} classified correctly" if images else right)
    axes = figure.add_subplot()
    colours = colormaps["Blues"].with_extremes(bad="#E4E4E4")
    # Square root, because most of a good classifier's confusions are a few per cent.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=colours, norm=scale, interpolation="nearest")
    if width is None:
        marks = (0, 0.01, 0.05, 0.1, 0.2, 0.5, 1)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=marks, format="{x:.0%}")
        bar.set_label("share of the true class's images")
        bar.outline.set_visible(False)
    step = math.ceil(count / _LABELLED_CLASSES)
    ticks = range(0, count, step)
    names = [shortened(classes[tick], 18) for tick in ticks]
    small = 9 if count <= _COUNTED_CLASSES else 7
    axes.set_xticks(ticks, names, rotation=90, fontsize=small, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=small, parse_math=False)
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if count <= _COUNTED_CLASSES:
        for (row, column), number in np.ndenumerate(matrix):
            dark = shares[row, column] is not np.ma.masked and shares[row, column] > 0.3
            colour = "white" if dark else "#101010"  # on the map, independent of the page's colours
            text = f"{int(number)}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


def _drops(history: Sequence[EpochLike]) -> list[int]:
    """The epochs with a lower learning rate than the one before."""
    drops = [
        after.epoch
        for before, after in pairwise(history)
        if after.learning_rate < before.learning_rate
    ]
    return drops if len(drops) <= _SEPARATE_DROPS else []


def _frame(axes: "Axes", name: str, finite: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(name, fontsize=10, loc="left", **TITLE)
    plain_numbers(axes)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)
    if not finite:
        axes.set_yticks([])
    elif name == "loss" and max(finite) / _LOG_SCALE_FROM > min(finite) > 0:
        axes.set_yscale("log")


def _line(
    axes: "Axes", epochs: Sequence[int], values: Sequence[float], colour: str, *, crosses_at: float
) -> None:
    # A dot is never narrower than the line: an epoch between two gaps stays visible.
    dot = 4.0 if len(epochs) <= 40 else 1.6
    drawn = [value if math.isfinite(value) else math.nan for value in values]
    axes.plot(
        epochs, drawn, color=colour, linewidth=1.6, marker="o", markersize=dot, markeredgewidth=0
    )
    gaps = [epoch for epoch, value in zip(epochs, drawn, strict=True) if math.isnan(value)]
    heights = [crosses_at] * len(gaps)  # as a share of the panel's height
    axes.plot(gaps, heights, "x", color=colour, markersize=4, transform=axes.get_xaxis_transform())


def _mark(axes: "Axes", epoch: int, value: float) -> None:
    """Ring the best epoch; its value is above the panel, clear of the curves."""
    if not math.isfinite(value):
        return
    axes.plot([epoch], [value], zorder=5, **_RING)
    shown = f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"
    axes.set_title(f"validation {shown} at epoch {epoch}", fontsize=9, loc="right", **TITLE)


def _legend(figure: "Figure", columns: int, *, drops: bool, ring: str, gaps: bool) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_TRAINING, marker="o", markersize=4, label="training"),
        Line2D([], [], color=_VALIDATION, marker="o", markersize=4, label="validation"),
    ]
    if ring:
        entries.append(Line2D([], [], label=ring, **_RING))
    if drops:
        entries.append(Line2D([], [], label="learning rate lowered", **_DROP))
    if gaps:
        label = "not a finite number"
        entries.append(Line2D([], [], color="black", marker="x", linestyle="", label=label))
    figure.legend(
        handles=entries,
        loc="lower center" if figure.get_layout_engine() is None else "outside lower center",
        ncols=min(len(entries), columns),
        frameon=False,
        fontsize=9,
    )


def new_figure(width: float, height: float, *, fitted: bool = True) -> "Figure":
    """A standalone figure, sizes in inches; ``fitted`` makes room for all text."""
    with _own_style():
        from matplotlib.figure import Figure

    layout: Any = "constrained" if fitted else "none"
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout=layout)


@contextmanager
def _own_style() -> Iterator[None]:
    """Import matplotlib within, with its default style; see models/environment.py.

    Matplotlib looks for a style in the working folder first, whatever the environment says. It also
    works if the user's home is not writable, with long warnings.
    """
    if "matplotlib" in sys.modules:
        yield
        return
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        here = os.open(".", os.O_RDONLY)
    except OSError:  # which matplotlib cannot read either
        yield
        return
    os.chdir("/")
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def plain_numbers(axes: "Axes") -> None:
    """Write the numbers at a linear y axis in full: no power above it, where the title is."""
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def lay_out(figure: "Figure") -> None:
    """Make room for whatever is written, once: each drawing would do so again."""
    from matplotlib import rc_context

    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        # None is the user's own default, which may be to do it again each time.
        with rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)


def _head(figure: "Figure", title: str, subtitle: str) -> None:
    width = int(figure.get_figwidth() * 11)  # characters of the title's size
    lines = [shortened(title, width), shortened(subtitle, width)]
    text = "\n".join(line for line in lines if line)
    figure.suptitle(text, fontsize=11, x=0.01, ha="left", parse_math=False)


def shortened(text: str, length: int) -> str:
    """The text in one line of at most ``length`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG with a palette.

    Raises:
        StorageError: It cannot be written.
    """
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; nothing for the user to do.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(drawn, format="rgba")
    size = figure.canvas.get_width_height(physical=True)
    image = Image.frombuffer("RGBA", size, drawn.getvalue(), "raw", "RGBA", 0, 1)
    # A study keeps a picture for each trial, and with a palette it takes a third of the space.
    image.convert("RGB").quantize().save(packed, format="png", optimize=True)
    write_atomically(path, packed.getvalue())
