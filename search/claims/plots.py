"""A figure per claim of the report: the trainings, and the effect with its interval.

Drawn in the style of search/figures/plots.py. Matplotlib is imported on first use.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.claims.verdicts import ClaimVerdict, StudyView, compared, differences, outcomes, plain
from search.console.text import plural
from search.figures import plots, svg
from search.figures.svg import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AS_CLAIMED, _OTHERWISE, _OPEN = plots.GREEN, plots.VERMILION, plots.MUTED
_POINT = plots.BLUE
_CLAIMED: dict[str, Any] = {"color": plots.GREY, "alpha": 0.15, "linewidth": 0, "zorder": 0}
_LOG_AXES = {"learning_rate", "l2_conv"}
_DOUBLING_AXES = {"batch_size", "last_filters"}


def draw(verdict: ClaimVerdict, view: StudyView, png: Path) -> None:
    """Draw a claim as a PNG of 1000 by 400 pixels, and as an SVG beside it.

    On the left are the trainings: a line for each family of paired trainings, or a dot for each
    trial. On the right are the differences and their mean with its interval, for each comparison.

    Raises:
        StorageError: The figures cannot be written.
    """
    figure = plots.new_figure(10, 4)
    figure.suptitle(verdict.claim.text, fontsize=12, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for axes in (left, right):
        plots.plain_numbers(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    _draw_trained(left, verdict, view)
    _draw_effects(right, verdict, view)
    svg.save(Chart(png.stem, verdict.claim.text, "", figure), png.parent)


def chart(verdict: ClaimVerdict, view: StudyView, width: float) -> Chart:
    """Only the effects of a claim, for a page; ``width`` in inches."""
    claim = verdict.claim
    figure = plots.new_figure(width, 1.5 + 0.6 * len(claim.contrasts))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    _draw_effects(axes, verdict, view)
    said = [claim.text, f"{verdict.word.capitalize()}.", f"Measured: {claim.measured}."]
    if verdict.settle:
        said.append(f"To settle it: {verdict.settle}.")
    if claim.caveat:
        said.append(claim.caveat)
    return Chart(f"claim-{claim.name}", claim.text, " ".join(said), figure)


def _draw_trained(axes: "Axes", verdict: ClaimVerdict, view: StudyView) -> None:
    claim = verdict.claim
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_ylabel(claim.outcome)
    if not verdict.source:
        axes.set_axis_off()
        text = f"nothing to compare yet; to settle it:\n{verdict.settle}"
        axes.text(0, 0.5, text, transform=axes.transAxes, color=_OPEN, wrap=True)
    elif not claim.arms:
        shown = plain(view) if verdict.source == "pairs" else view.trials
        _draw_curves(axes, [[e.val_accuracy for e in training.figures] for training in shown])
        _title(axes, f"{len(shown)} trainings")
    elif verdict.source == "pairs":
        families = compared(view, claim)
        _draw_families(axes, families, [arm.label for arm in claim.arms])
        _title(
            axes, f"trainings of {view.epochs} epochs that differ only in this; one line per seed"
        )
    else:
        dots = [(float(t.params[claim.axis]), y) for t, y in outcomes(view, claim, verdict.epoch)]
        _draw_dots(axes, dots, claim.axis)
        _title(axes, f"{len(dots)} trials after {verdict.epoch} epochs")


def _draw_curves(axes: "Axes", curves: Sequence[Sequence[float]]) -> None:
    for curve in curves:
        percent = [100 * accuracy for accuracy in curve]
        axes.plot(range(1, len(curve) + 1), percent, color=_POINT, linewidth=1, alpha=0.5)
    axes.set_xlabel("epoch")
    longest = max(map(len, curves), default=1)
    axes.axvline(longest / 2, color="#B0B0B0", linewidth=1, linestyle=(0, (2, 2)))


def _draw_families(
    axes: "Axes", families: Sequence[Sequence[float]], labels: Sequence[str]
) -> None:
    places = range(len(labels))
    for family in families:
        axes.plot(places, family, color=_POINT, linewidth=1, alpha=0.6, marker="o", markersize=4)
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.35, len(labels) - 0.65)


def _draw_dots(axes: "Axes", dots: Sequence[tuple[float, float]], name: str) -> None:
    axes.plot(*zip(*dots, strict=True), "o", color=_POINT, alpha=0.5, markersize=5)
    axes.set_xlabel(name)
    if name in _LOG_AXES:
        axes.set_xscale("log")
    elif name in _DOUBLING_AXES:
        values = sorted({x for x, _ in dots})
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()


def _draw_effects(axes: "Axes", verdict: ClaimVerdict, view: StudyView) -> None:
    claim = verdict.claim
    rows = list(range(len(claim.contrasts)))[::-1]  # the first on top
    dots = differences(view, claim) if verdict.source == "pairs" else [[] for _ in rows]
    axes.axvline(0, color="black", linewidth=1)
    for row, effect, single in zip(rows, verdict.effects, dots, strict=True):
        axes.plot(single, [row - 0.16] * len(single), "|", color=_POINT, markersize=9, alpha=0.8)
        estimate = effect.estimate
        if estimate is None:
            continue
        bounded = math.isfinite(estimate.low)
        colour = _OPEN
        if estimate.low > 0 or estimate.high < 0:
            colour = _AS_CLAIMED if estimate.effect * claim.sign > 0 else _OTHERWISE
        if bounded:
            axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=3)
        axes.plot([estimate.effect], [row], "o", color=colour, markersize=9)
        shown = f"{estimate.effect:+.2g}"
        shown += (
            f" ({estimate.low:+.2g} to {estimate.high:+.2g})" if bounded else " (no interval yet)"
        )
        label: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 9}
        axes.annotate(
            shown,
            (estimate.effect, row),
            (0, 8),
            textcoords="offset points",
            color=plots.INK,
            **label,
        )
    axes.set_yticks(rows, [_broken(effect.label) for effect in verdict.effects])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(claim.unit)
    if not verdict.source:
        axes.set_xticks([0])
    _make_room(axes)
    low, high = axes.get_xlim()
    claimed = (0, high) if claim.sign > 0 else (low, 0)
    axes.axvspan(*claimed, **_CLAIMED)
    axes.set_xlim(low, high)
    side: dict[str, Any] = {"ha": "left" if claim.sign > 0 else "right", "fontsize": 8}
    axes.annotate(
        "as claimed",
        (0, 0.02),
        (5 * claim.sign, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        color=_OPEN,
        **side,
    )
    said: dict[str, Any] = {"fontsize": 11, "color": plots.INK, "fontweight": "bold"}
    axes.set_title(verdict.word, loc="left", **said, **plots.TITLE)
    axes.set_title(_basis(verdict), loc="right", fontsize=9, **plots.TITLE)


def _make_room(axes: "Axes") -> None:
    """Keep zero well inside, with room for the numbers above the means."""
    low, high = axes.get_xlim()
    low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.2 * (high - low)
    axes.set_xlim(low - margin, high + margin)


def _basis(verdict: ClaimVerdict) -> str:
    counted = [effect.estimate.n for effect in verdict.effects if effect.estimate]
    if not counted:
        return ""
    what = verdict.source if verdict.claim.arms or verdict.source == "trials" else "trainings"
    counts = plural(max(counted), what.removesuffix("s"))
    if min(counted) < max(counted):
        counts = f"{min(counted)} to {counts}"
    return f"{counts}, 95 % intervals"


def _broken(label: str) -> str:
    return (
        label.replace(", ", ",\n")
        .replace(" against ", "\nagainst ")
        .replace(" between ", "\nbetween ")
    )


def _title(axes: "Axes", text: str) -> None:
    axes.set_title(text, fontsize=9, loc="left", **plots.TITLE)
