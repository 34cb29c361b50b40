"""Building blocks of a report's charts: figures, axes, legends, colours."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from search.figures import plots
from search.figures.plots import BLUE, GREEN, GREY, INK, LINES, MUTED, ORANGE, VERMILION
from search.study.snapshot import STATES, ShownState, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[ShownState, str] = {
    "complete": BLUE,
    "running": GREEN,
    "paused": ORANGE,
    "pruned": GREY,
    "failed": VERMILION,
}
MARKERS: dict[ShownState, str] = {
    "complete": "o",
    "running": "^",
    "paused": "s",
    "pruned": "o",
    "failed": "X",
}
WIDTH = 4.8  # inches; a phone shrinks it by a fifth, and the text stays readable
CHART_TITLE: dict[str, Any] = {**plots.TITLE, "loc": "left", "fontsize": 11, "color": INK}
MOST_LABELLED = 12
RING: dict[str, Any] = {
    "s": 110,
    "facecolors": "none",
    "edgecolors": INK,
    "linewidths": 1.6,
    "zorder": 5,
}


def dots(state: ShownState) -> dict[str, Any]:
    """Marker style of trials in that state."""
    hollow = state == "pruned"
    return {
        "s": 26,
        "marker": MARKERS[state],
        "facecolors": "none" if hollow else COLOURS[state],
        "edgecolors": COLOURS[state],
        "linewidths": 1.2 if hollow else 0,
        "zorder": 2 + len(STATES) - STATES.index(state) if not hollow else 2,
    }


def chart_of(
    width: float = WIDTH, height: float = 3.2, *, legend: bool = False
) -> tuple["Figure", "Axes"]:
    """A figure with one panel and fixed margins: computing them takes most of the time."""
    figure = plots.new_figure(width, height, fitted=False)
    small = width < WIDTH
    figure.subplots_adjust(
        left=(0.45 if small else 0.62) / width,
        right=1 - 0.12 / width,
        bottom=(0.3 if small else 0.82 if legend else 0.52) / height,
        top=1 - 0.32 / height,
    )
    return figure, panel(figure)


def fitted(height: float) -> tuple["Figure", "Axes"]:
    """A figure with one panel and room for its labels."""
    figure = plots.new_figure(WIDTH, height)
    return figure, panel(figure)


def panel(figure: "Figure") -> "Axes":
    """The one panel of a figure."""
    axes = figure.add_subplot()
    plots.plain_numbers(axes)
    return axes


def frame(axes: "Axes", label: str, top: float | None) -> None:
    """Apply the common frame; values above ``top`` are cut off."""
    axes.set_ylabel(label, parse_math=False)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if top is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(low, min(high, top + 0.04 * (top - low)))
    tint(axes)


def tint(axes: "Axes") -> None:
    """Give all text the page's colours."""
    axes.tick_params(which="both", colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.spines[:].set_color(MUTED)


def whole_numbers(axes: "Axes") -> None:
    """Use whole numbers on the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def legend(figure: "Figure", drawn: Sequence[TrialView], *, best: str = "") -> None:
    """Draw a legend of the trials' markers below the panel."""
    from matplotlib.lines import Line2D

    entries = []
    for state in STATES:
        if any(trial.state == state for trial in drawn):
            hollow = "none" if state == "pruned" else COLOURS[state]
            entries.append(
                Line2D(
                    [],
                    [],
                    color=COLOURS[state],
                    label=state,
                    marker=MARKERS[state],
                    markersize=6,
                    markerfacecolor=hollow,
                )
            )
    if best == "line":
        entries.append(Line2D([], [], color=INK, linewidth=2.4, label="the best"))
    elif best == "ring":
        ring: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
        entries.append(Line2D([], [], color=INK, linestyle="", label="the best", **ring))
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=min(5, len(entries)),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        columnspacing=1.0,
        handlelength=1.5,
    )


def top_of(values: Sequence[float] | np.ndarray) -> float:
    """Upper limit of a frame: above 95% of the values, so that outliers do not flatten the rest."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 1.0
    low, high = min(finite), float(np.quantile(finite, 0.95))
    return high if high > low else max(finite)
