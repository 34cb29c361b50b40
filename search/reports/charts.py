"""The charts of a report: each drawn from a snapshot, or None where there is nothing to draw."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.figures import plots
from search.figures.plots import BLUE, GREEN, GREY, INK, LINES, MUTED, ORANGE, VERMILION
from search.figures.svg import Chart
from search.study.evaluation_record import Tested, mistakes_figure
from search.study.snapshot import STATES, Snapshot, State, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[State, str] = {
    "complete": BLUE,
    "running": GREEN,
    "paused": ORANGE,
    "pruned": GREY,
    "failed": VERMILION,
}
_MARKERS: dict[State, str] = {
    "complete": "o",
    "running": "^",
    "paused": "s",
    "pruned": "o",
    "failed": "X",
}
ENOUGH = 20  # trials, for importances: below, they are noise
WIDTH = 4.8  # inches: on a phone it shrinks by a fifth, and its letters can still be read
_TITLE: dict[str, Any] = {**plots.TITLE, "loc": "left", "fontsize": 11, "color": INK}


def of_search(seen: Snapshot) -> list[Chart]:
    """How the search went: its best over epochs and time, its trials, and what they cost."""
    drawn = (best_over(seen, time=False), best_over(seen, time=True), curves(seen), spent(seen))
    return [chart for chart in drawn if chart is not None]


def of_space(seen: Snapshot) -> list[Chart]:
    """What made the difference: overfitting, and how much each parameter matters."""
    drawn = (overfitting(seen), importances(seen))
    return [chart for chart in drawn if chart is not None]


def of_model(seen: Snapshot) -> list[Chart]:
    """The retrained model: its curves, and what it takes for what."""
    found = []
    for name in ("loss", "accuracy"):
        if seen.retraining:
            figure, axes = _fitted(3.2)
            plots.draw_panels(figure, {name: axes}, seen.retraining, columns=3)
            _tint(axes)
            caption = (
                "Training figures are measured during the epoch, with dropout on; validation "
                "figures after it. The ring marks the epoch whose weights were kept."
            )
            found.append(Chart(f"retrained-{name}", f"Retraining: {name}", caption, figure))
    if seen.tested is not None:
        found += [_confusion(seen.tested), _by_class(seen.tested)]
        if seen.tested.mistakes:
            title = "Most confidently wrong"
            caption = "Each image with what it is, what it was taken for, and how surely."
            figure = mistakes_figure(seen.tested, title)
            found.append(Chart("mistakes", title, caption, figure))
    return found


def best_over(seen: Snapshot, *, time: bool) -> Chart | None:
    """The lowest figure so far, over the epochs or the time spent on all trials together."""
    by_number = {trial.number: trial for trial in seen.trials}
    at, values, tips, improved = 0.0, [], [], []
    best = math.inf
    for number, epoch in seen.order:
        trial = by_number.get(number)
        figures = next((f for f in trial.history if f.epoch == epoch), None) if trial else None
        if trial is None or figures is None or trial.state == "failed":
            continue
        at += figures.seconds / 3600 if time else 1
        value = trial.judged(figures)
        if value < best:
            best = value
            improved.append((at, value))
            tips.append(f"trial {number}, epoch {epoch}: {seen.monitor} {value:.4f}")
        values.append((at, value))
    if not improved:
        return None
    figure, axes = _figure()
    unit = 60 if time and at < 1.5 else 1  # minutes read better than a third of an hour
    x, y = (np.array(column) for column in zip(*improved, strict=True))
    x = x * unit
    every_x, every_y = (np.array(column) for column in zip(*values, strict=True))
    top = _top(every_y)
    inside = every_y <= top
    others = every_x[inside] * unit, every_y[inside]
    axes.plot(*others, ".", color=GREY, markersize=3, alpha=0.4)
    axes.step([*x, at * unit], [*y, best], where="post", color=BLUE, linewidth=2)
    axes.scatter(x, np.minimum(y, top), s=24, color=BLUE, zorder=3, gid="best")
    _frame(axes, seen.monitor, top)
    axes.set_xlabel(
        ("minutes" if unit == 60 else "hours") + " of training, all workers together"
        if time
        else "epochs spent, all trials together"
    )
    over = "time" if time else "epochs"
    title = f"Best {seen.monitor} over {over}"
    axes.set_title(title, **_TITLE)
    caption = (
        "The step is the lowest so far, each dot on it a new best; the pale dots are all other "
        "epochs, in the order they were trained."
    )
    return Chart(f"best-over-{over}", title, caption, figure, {"best": tips})


def curves(seen: Snapshot) -> Chart | None:
    """Every trial's curve, in the colour of its state, with what became of it on hover."""
    drawn = [trial for trial in seen.trials if trial.best is not None]
    if not drawn:
        return None
    figure, axes = _figure(height=3.8, legend=True)
    top = _top([trial.judged(f) for trial in drawn for f in trial.history])
    tips = {}
    many = Counter(trial.state for trial in drawn)
    pale = 0.75 if len(drawn) <= 40 else 0.45
    # The few lie above the many, and the best above all.
    for trial in sorted(drawn, key=lambda t: (t is seen.best, -many[t.state])):
        epochs = [figures.epoch for figures in trial.history]
        values = [trial.judged(figures) for figures in trial.history]
        line: dict[str, Any] = {"color": COLOURS[trial.state], "linewidth": 1.1, "alpha": pale}
        if trial is seen.best:
            line = {"color": INK, "linewidth": 2.4}
        name = f"trial-{trial.number}"
        tips[name] = trial.story
        marker: dict[str, Any] = {
            "marker": _MARKERS[trial.state],
            "markersize": 3.5,
            "markevery": [-1],
        }
        if trial.state == "pruned":
            marker["markerfacecolor"] = "none"
        axes.plot(epochs, values, gid=name, **marker, **line)
    _frame(axes, seen.monitor, top)
    axes.set_xlabel("epoch")
    _whole_numbers(axes)
    title = "Every trial's curve"
    axes.set_title(title, **_TITLE)
    _legend(figure, drawn, best="line")
    caption = (
        "Hover over a curve, or tap it, for its figures and the reason it ended. The frame ends "
        "where 95% of the figures do."
    )
    return Chart("curves", title, caption, figure, tips)


def spent(seen: Snapshot) -> Chart | None:
    """Where the epochs went: how many trials trained each epoch, by what became of them."""
    if not seen.spent:
        return None
    figure, axes = _figure(height=3.8, legend=True)
    numbers = np.arange(1, max(len(trial.history) for trial in seen.trials) + 1)
    base = np.zeros(len(numbers))
    for state in STATES:
        lengths = [len(trial.history) for trial in seen.of_state(state)]
        heights = np.array([sum(length >= epoch for length in lengths) for epoch in numbers])
        if heights.any():
            axes.bar(numbers, heights, 0.85, bottom=base, color=COLOURS[state])
            base += heights
    axes.set_xlabel("epoch")
    _whole_numbers(axes)
    _frame(axes, "trials that trained it", None)
    title = "Where the epochs went"
    axes.set_title(title, **_TITLE)
    _legend(figure, [trial for trial in seen.trials if trial.history])
    shares = ", ".join(
        f"{epochs / seen.spent:.0%} {state}"
        for state in STATES
        if (epochs := sum(len(trial.history) for trial in seen.of_state(state)))
    )
    full = len(seen.trials) * seen.epochs
    caption = (
        f"{seen.spent:,} epochs: {shares}. All {len(seen.trials)} trials in full would have taken "
        f"{full:,}{f': {1 - seen.spent / full:.0%} was saved' if seen.spent < full else ''}."
    )
    return Chart("epochs-spent", title, caption, figure)


def overfitting(seen: Snapshot) -> Chart | None:
    """Training against validation accuracy, each trial at its best epoch."""
    drawn = [trial for trial in seen.trials if trial.best is not None]
    if not drawn:
        return None
    figure, axes = _figure(height=3.8, legend=True)
    tips: dict[str, list[str]] = {}
    pairs = []
    for state in reversed(STATES):
        of = [trial for trial in drawn if trial.state == state]
        points = [(t.best.accuracy, t.best.val_accuracy) for t in of if t.best is not None]
        finite = [all(map(math.isfinite, point)) for point in points]
        points = [point for point, keep in zip(points, finite, strict=True) if keep]
        if points:
            name = f"state-{state}"
            tips[name] = [t.story for t, keep in zip(of, finite, strict=True) if keep]
            axes.scatter(*zip(*points, strict=True), gid=name, **_dots(state))
            pairs += points
    if not pairs:
        return None
    best = seen.best
    if best is not None and best.best is not None:
        axes.scatter([best.best.accuracy], [best.best.val_accuracy], **_RING)
    low, high = min(map(min, pairs)), max(map(max, pairs))
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
    axes.fill_between([low, high], [low, high], low, color=VERMILION, alpha=0.06, zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    _frame(axes, "validation accuracy", None)
    axes.set_xlabel("training accuracy (below the line: overfitting)")
    title = "Training against validation accuracy"
    axes.set_title(title, **_TITLE)
    _legend(figure, drawn, best="ring" if best is not None else "")
    caption = (
        "Each trial at its best epoch. On the dashed line both are equal; the further below it, "
        "the more a network has learned by heart. Above it, dropout, which is on while training, "
        "holds the training accuracy down."
    )
    return Chart("overfitting", title, caption, figure, tips)


def importances(seen: Snapshot) -> Chart | None:
    """How much each parameter matters, all trials judged after the same number of epochs."""
    rows = sorted((len(trial.history) for trial in seen.trials if trial.best), reverse=True)
    if len(rows) < ENOUGH:
        return None
    # As late as possible, but at least half of the trials, and enough, have to have got there.
    epoch = rows[max(ENOUGH, math.ceil(len(rows) / 2)) - 1]
    found = _importances(seen, epoch)
    if not found:
        return None
    names = list(found)[::-1]
    figure, axes = _fitted(0.9 + 0.28 * len(names))
    bars = axes.barh(range(len(names)), [found[name] for name in names], 0.7, color=BLUE)
    axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), [plots.shortened(name, 22) for name in names])
    _frame(axes, "", None)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.12)
    title = "What matters"
    axes.set_title(title, **_TITLE)
    judged = sum(length >= epoch for length in rows)
    caption = (
        f"Importance of each parameter for reaching the best tenth (Optuna's PED-ANOVA), by "
        f"{seen.monitor} after epoch {epoch}, which {judged} trials reached. The shares add up "
        "to 100%."
    )
    return Chart("importances", title, caption, figure)


def _importances(seen: Snapshot, epoch: int) -> dict[str, float]:
    study = optuna.create_study()
    for trial in seen.trials:
        losses = [trial.judged(figures) for figures in trial.history[:epoch]]
        value = min(filter(math.isfinite, losses), default=None)
        if len(losses) >= epoch and value is not None:
            study.add_trial(
                optuna.create_trial(
                    params=dict(trial.params),
                    distributions=dict(trial.distributions),
                    value=value,
                )
            )
    try:
        return optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # too few different values, or no parameter in common
        return {}


def slices(seen: Snapshot) -> Iterator[Chart]:
    """The best figure of each trial over each parameter."""
    drawn = [trial for trial in seen.trials if math.isfinite(trial.value)]
    names = list(dict.fromkeys(name for trial in drawn for name in trial.params))
    top = _top([trial.value for trial in drawn])
    for place, name in enumerate(names, 1):
        having = [trial for trial in drawn if name in trial.params]
        figure, axes = _figure(2.35, 2.2)
        distribution = having[-1].distributions[name]
        choices: list[Any] = []
        if isinstance(distribution, CategoricalDistribution):
            choices = list(distribution.choices)
        elif isinstance(distribution, IntDistribution) and distribution.high - distribution.low < 9:
            choices = list(range(distribution.low, distribution.high + 1, distribution.step))
        if choices:
            labels = [plots.shortened(str(choice), 40 // len(choices)) for choice in choices]
            axes.set_xticks(range(len(choices)), labels, parse_math=False)
            axes.set_xlim(-0.5, len(choices) - 0.5)
        elif isinstance(distribution, FloatDistribution | IntDistribution):
            _all_of(axes, distribution)
        tips = {}
        for state in reversed(STATES):
            of = [trial for trial in having if trial.state == state]
            if not of:
                continue
            x = [_place(trial, name, choices) for trial in of]
            tips[f"state-{state}"] = [f"{name} {trial.params[name]}\n{trial.name}" for trial in of]
            y = np.minimum([trial.value for trial in of], top)
            axes.scatter(x, y, gid=f"state-{state}", **_dots(state))
        best = seen.best
        if best is not None and name in best.params:
            axes.scatter([_place(best, name, choices)], [best.value], **_RING)
        _frame(axes, "", top)
        axes.locator_params(axis="y", nbins=5)
        axes.set_title(plots.shortened(name, 24), parse_math=False, **_TITLE)
        slug = re.sub(r"[^\w-]+", "-", name)[:40]
        yield Chart(f"slice-{place:02d}-{slug}", name, "", figure, tips, group="slices")


def _all_of(axes: "Axes", distribution: FloatDistribution | IntDistribution) -> None:
    """Show the whole range of a number, so that it is seen where nothing was tried."""
    from matplotlib.ticker import LogFormatter

    low, high = distribution.low, distribution.high
    if distribution.log:
        axes.set_xscale("log")
        if high >= 10 * low:  # else ticks have more digits than it writes
            # 1e-08 is drawn in a third of the time of a formula.
            axes.xaxis.set_major_formatter(LogFormatter())
            axes.xaxis.set_minor_formatter(LogFormatter())
        margin = (high / low) ** 0.05
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.5
        axes.set_xlim(low - margin, high + margin)
        axes.locator_params(axis="x", nbins=4)


def _place(trial: TrialView, name: str, choices: Sequence[Any]) -> float:
    """Where a value stands; choices side by side, spread by trial so that dots do not hide dots."""
    if not choices:
        return float(trial.params[name])
    return choices.index(trial.params[name]) + 0.5 * ((trial.number * 0.618034) % 1 - 0.5)


def _confusion(tested: Tested) -> Chart:
    title = "Which class is taken for which"
    figure = plots.confusion_figure(np.array(tested.confusion), tested.classes, title, WIDTH)
    caption = (
        f"Counts of {tested.images:,} test images. Rows are the true classes, and a cell is the "
        "darker the larger its share of the row."
    )
    return Chart("confusion", title, caption, figure)


def _by_class(tested: Tested) -> Chart:
    matrix = np.array(tested.confusion)
    totals = matrix.sum(axis=1)
    shares = np.diag(matrix) / np.maximum(totals, 1)
    order = np.argsort(shares)
    if len(order) > 2 * _CLASSES:  # of many classes, the worst and the best
        order = np.concatenate([order[:_CLASSES], order[-_CLASSES:]])
    figure, axes = _fitted(0.9 + 0.28 * len(order))
    axes.barh(range(len(order)), shares[order], 0.7, color=BLUE)
    for row, share in enumerate(shares[order]):  # beyond all bars, and the dashed line
        axes.text(1.03, row, f"{share:.1%}", va="center", fontsize=9, color=INK)
    names = [plots.shortened(tested.classes[n], 18) for n in order]
    axes.set_yticks(range(len(order)), names, parse_math=False)
    axes.axvline(tested.accuracy, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    _frame(axes, "", None)
    axes.grid(visible=False)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    title = "Accuracy by class"
    axes.set_title(title, **_TITLE)
    few = f", the {_CLASSES} hardest and the {_CLASSES} easiest" if len(order) < len(shares) else ""
    caption = (
        f"Share of each class's test images that were classified correctly{few}; dashed, the "
        f"share of all, {tested.accuracy:.2%}."
    )
    return Chart("accuracy-by-class", title, caption, figure)


_CLASSES = 12
_RING: dict[str, Any] = {
    "s": 110,
    "facecolors": "none",
    "edgecolors": INK,
    "linewidths": 1.6,
    "zorder": 5,
}


def _dots(state: State) -> dict[str, Any]:
    hollow = state == "pruned"
    return {
        "s": 26,
        "marker": _MARKERS[state],
        "facecolors": "none" if hollow else COLOURS[state],
        "edgecolors": COLOURS[state],
        "linewidths": 1.2 if hollow else 0,
        "zorder": 2 + len(STATES) - STATES.index(state) if not hollow else 2,
    }


def _figure(
    width: float = WIDTH, height: float = 3.2, *, legend: bool = False
) -> tuple["Figure", "Axes"]:
    """A figure with one panel, its margins given: to find them out takes most of the time."""
    figure = plots.new_figure(width, height, fitted=False)
    small = width < WIDTH
    figure.subplots_adjust(
        left=(0.45 if small else 0.62) / width,
        right=1 - 0.12 / width,
        bottom=(0.3 if small else 0.82 if legend else 0.52) / height,
        top=1 - 0.32 / height,
    )
    return figure, _panel(figure)


def _fitted(height: float) -> tuple["Figure", "Axes"]:
    """A figure with one panel, and as much room beside it as its names need."""
    figure = plots.new_figure(WIDTH, height)
    return figure, _panel(figure)


def _panel(figure: "Figure") -> "Axes":
    axes = figure.add_subplot()
    plots.plain_numbers(axes)
    return axes


def _frame(axes: "Axes", label: str, top: float | None) -> None:
    """The house's frame; figures above ``top`` are beyond it."""
    axes.set_ylabel(label, parse_math=False)
    axes.grid(axis="y", color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if top is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(low, min(high, top + 0.04 * (top - low)))
    _tint(axes)


def _tint(axes: "Axes") -> None:
    """Give all that is written the page's colours."""
    axes.tick_params(which="both", colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.spines[:].set_color(MUTED)


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def _legend(figure: "Figure", drawn: Sequence[TrialView], *, best: str = "") -> None:
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
                    marker=_MARKERS[state],
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


def _top(values: Sequence[float] | np.ndarray) -> float:
    """Where a frame ends: above 95% of the figures, so that a few bad ones do not flatten all."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 1.0
    low, high = min(finite), float(np.quantile(finite, 0.95))
    return high if high > low else max(finite)
