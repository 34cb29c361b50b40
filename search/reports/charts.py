"""The charts of a study report, drawn from a snapshot; None if there is nothing to draw."""

import math
from collections import Counter
from typing import Any

import numpy as np

from search.console.text import plural
from search.figures.plots import BLUE, GREY, INK, MUTED, VERMILION
from search.figures.svg import Chart
from search.reports.chart_parts import (
    CHART_TITLE,
    COLOURS,
    MARKERS,
    RING,
    chart_of,
    dots,
    frame,
    legend,
    top_of,
    whole_numbers,
)
from search.study.sizes import told_size
from search.study.snapshot import STATES, Snapshot


def of_search(snapshot: Snapshot) -> list[Chart]:
    """Charts of the search: its front, its best over epochs and time, its trials and their cost."""
    drawn = (
        front(snapshot),
        best_over(snapshot, time=False),
        best_over(snapshot, time=True),
        curves(snapshot),
        spent(snapshot),
    )
    return [chart for chart in drawn if chart is not None]


def front(snapshot: Snapshot) -> Chart | None:
    """Loss over size of every trial, with the front of both as steps."""
    of = snapshot.front
    if of is None or not of.trials:
        return None
    figure, axes = chart_of(height=3.8, legend=True)
    drawn = [trial for trial in snapshot.trials if trial.number in of.sizes]
    top = top_of([trial.value for trial in drawn])
    tips: dict[str, list[str]] = {}
    for state in reversed(STATES):
        there = [trial for trial in drawn if trial.state == state]
        if there:
            name = f"front-{state}"
            tips[name] = [
                f"{t.story}\n{told_size(of.sizes[t.number], of.size)} {of.mark(t.number)}".strip()
                for t in there
            ]
            x = [of.sizes[trial.number] for trial in there]
            axes.scatter(x, np.minimum([t.value for t in there], top), gid=name, **dots(state))
    steps = [(trial.size, trial.loss) for trial in of.trials]
    axes.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=1.2, zorder=1)
    if of.knee is not None:
        axes.scatter([of.knee.size], [of.knee.loss], **RING)
    axes.set_xscale("log")
    frame(axes, snapshot.objective, top)
    axes.set_xlabel(of.label)
    title = f"Front of {snapshot.objective} and {of.size}"
    axes.set_title(title, **CHART_TITLE)
    legend(figure, drawn)
    caption = (
        "The line is the lowest value among trials of at most each size. "
        + ("The ring marks the knee. " if of.knee is not None else "")
        + "Trials that ended early are higher than they would be in full."
    )
    return Chart("front", title, caption, figure, tips)


def best_over(snapshot: Snapshot, *, time: bool) -> Chart | None:
    """The lowest value so far, over the epochs or time of all trials together."""
    by_number = {trial.number: trial for trial in snapshot.trials}
    at, values, tips, improved = 0.0, [], [], []
    best = math.inf
    for number, epoch in snapshot.order:
        trial = by_number.get(number)
        figures = next((f for f in trial.history if f.epoch == epoch), None) if trial else None
        if trial is None or figures is None or trial.state == "failed":
            continue
        at += figures.seconds / 3600 if time else 1
        value = trial.judged(figures)
        if value < best:
            best = value
            improved.append((at, value))
            tips.append(f"trial {number}, epoch {epoch}: {snapshot.objective} {value:.4f}")
        values.append((at, value))
    if not improved:
        return None
    figure, axes = chart_of()
    unit = 60 if time and at < 1.5 else 1  # minutes for short searches
    x, y = (np.array(column) for column in zip(*improved, strict=True))
    x = x * unit
    every_x, every_y = (np.array(column) for column in zip(*values, strict=True))
    top = top_of(every_y)
    inside = every_y <= top
    others = every_x[inside] * unit, every_y[inside]
    axes.plot(*others, ".", color=GREY, markersize=3, alpha=0.4)
    axes.step([*x, at * unit], [*y, best], where="post", color=BLUE, linewidth=2)
    axes.scatter(x, np.minimum(y, top), s=24, color=BLUE, zorder=3, gid="best")
    frame(axes, snapshot.objective, top)
    axes.set_xlabel(
        ("minutes" if unit == 60 else "hours") + " of training, all workers"
        if time
        else "epochs, all trials"
    )
    over = "time" if time else "epochs"
    title = f"Best {snapshot.objective} over {over}"
    axes.set_title(title, **CHART_TITLE)
    caption = (
        "The line is the lowest value so far; each dot on it is a new best. Pale dots are the "
        "other epochs, in training order."
    )
    return Chart(f"best-over-{over}", title, caption, figure, {"best": tips})


def curves(snapshot: Snapshot) -> Chart | None:
    """Every trial's curve, in the colour of its state, with its result on hover."""
    drawn = [trial for trial in snapshot.trials if trial.best is not None]
    if not drawn:
        return None
    figure, axes = chart_of(height=3.8, legend=True)
    top = top_of([trial.judged(f) for trial in drawn for f in trial.history])
    tips = {}
    many = Counter(trial.state for trial in drawn)
    pale = 0.75 if len(drawn) <= 40 else 0.45
    # Rare states are drawn above common ones, and the best trial on top.
    for trial in sorted(drawn, key=lambda t: (t is snapshot.best, -many[t.state])):
        epochs = [figures.epoch for figures in trial.history]
        values = [trial.judged(figures) for figures in trial.history]
        line: dict[str, Any] = {"color": COLOURS[trial.state], "linewidth": 1.1, "alpha": pale}
        if trial is snapshot.best:
            line = {"color": INK, "linewidth": 2.4}
        name = f"trial-{trial.number}"
        tips[name] = trial.story
        marker: dict[str, Any] = {
            "marker": MARKERS[trial.state],
            "markersize": 3.5,
            "markevery": [-1],
        }
        if trial.state == "pruned":
            marker["markerfacecolor"] = "none"
        axes.plot(epochs, values, gid=name, **marker, **line)
    frame(axes, snapshot.objective, top)
    axes.set_xlabel("epoch")
    whole_numbers(axes)
    title = "Learning curves"
    axes.set_title(title, **CHART_TITLE)
    legend(figure, drawn, best="line")
    caption = (
        "Hover over a curve or tap it for its figures and the reason it ended. The axis covers "
        "95% of the figures."
    )
    return Chart("curves", title, caption, figure, tips)


def spent(snapshot: Snapshot) -> Chart | None:
    """Where the epochs went: number of trials that trained each epoch, by state."""
    if not snapshot.spent:
        return None
    figure, axes = chart_of(height=3.8, legend=True)
    numbers = np.arange(1, max(len(trial.history) for trial in snapshot.trials) + 1)
    base = np.zeros(len(numbers))
    for state in STATES:
        lengths = [len(trial.history) for trial in snapshot.of_state(state)]
        heights = np.array([sum(length >= epoch for length in lengths) for epoch in numbers])
        if heights.any():
            axes.bar(numbers, heights, 0.85, bottom=base, color=COLOURS[state])
            base += heights
    axes.set_xlabel("epoch")
    whole_numbers(axes)
    frame(axes, "trials", None)
    title = "Where the epochs went"
    axes.set_title(title, **CHART_TITLE)
    legend(figure, [trial for trial in snapshot.trials if trial.history])
    shares = ", ".join(
        f"{epochs / snapshot.spent:.0%} {state}"
        for state in STATES
        if (epochs := sum(len(trial.history) for trial in snapshot.of_state(state)))
    )
    caption = f"{plural(snapshot.spent, 'epoch')}: {shares}."
    # Others may go on, or have failed: what they did not train is not saved.
    ended = [*snapshot.of_state("complete"), *snapshot.of_state("pruned")]
    taken, full = sum(len(trial.history) for trial in ended), len(ended) * snapshot.epochs
    if taken < full:
        caption += (
            f" The {plural(len(ended), 'complete or pruned trial')} in full would have taken "
            f"{full:,}: {1 - taken / full:.0%} saved."
        )
    return Chart("epochs-spent", title, caption, figure)


def overfitting(snapshot: Snapshot) -> Chart | None:
    """Training against validation accuracy, each trial at its best epoch."""
    drawn = [trial for trial in snapshot.trials if trial.best is not None]
    if not drawn:
        return None
    figure, axes = chart_of(height=3.8, legend=True)
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
            axes.scatter(*zip(*points, strict=True), gid=name, **dots(state))
            pairs += points
    if not pairs:
        return None
    best = snapshot.best
    if best is not None and best.best is not None:
        axes.scatter([best.best.accuracy], [best.best.val_accuracy], **RING)
    low, high = min(map(min, pairs)), max(map(max, pairs))
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
    axes.fill_between([low, high], [low, high], low, color=VERMILION, alpha=0.06, zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    frame(axes, "validation accuracy", None)
    axes.set_xlabel("training accuracy (below the line: overfitting)")
    title = "Training against validation accuracy"
    axes.set_title(title, **CHART_TITLE)
    legend(figure, drawn, best="ring" if best is not None else "")
    caption = (
        "Each trial at its best epoch. On the dashed line both are equal. The further below it, "
        "the more a network overfits. Above it, dropout lowers the training accuracy, because it "
        "is on only during training."
    )
    return Chart("overfitting", title, caption, figure, tips)
