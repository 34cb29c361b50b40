"""Charts of a search space: parameter importance, and where the best values are."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.figures import plots
from search.figures.plots import BLUE, INK
from search.figures.svg import Chart
from search.study.snapshot import STATES, Snapshot, TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from search.reports.chart_parts import CHART_TITLE, RING, chart_of, dots, fitted, frame, top_of
from search.reports.charts import overfitting

ENOUGH = 20  # least trials for importances; with fewer they are noise


def of_space(snapshot: Snapshot) -> list[Chart]:
    """Charts of the space: overfitting, and the importance of each parameter."""
    drawn = (overfitting(snapshot), importances(snapshot))
    return [chart for chart in drawn if chart is not None]


def importances(snapshot: Snapshot) -> Chart | None:
    """The importance of each parameter, with all trials judged after the same number of epochs."""
    rows = sorted((len(trial.history) for trial in snapshot.trials if trial.best), reverse=True)
    if len(rows) < ENOUGH:
        return None
    # As late as possible, but at least half of the trials, and ENOUGH, must have reached it.
    epoch = rows[max(ENOUGH, math.ceil(len(rows) / 2)) - 1]
    importances = _importances(snapshot, epoch)
    if not importances:
        return None
    names = list(importances)[::-1]
    figure, axes = fitted(0.9 + 0.28 * len(names))
    bars = axes.barh(range(len(names)), [importances[name] for name in names], 0.7, color=BLUE)
    axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), [plots.shortened(name, 22) for name in names])
    frame(axes, "", None)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.12)
    title = "Parameter importance"
    axes.set_title(title, **CHART_TITLE)
    judged = sum(length >= epoch for length in rows)
    caption = (
        "Importance of each parameter for reaching the best tenth (Optuna's PED-ANOVA), by "
        f"{snapshot.objective} after epoch {epoch}, which {judged} trials reached. The shares add "
        "up to 100%."
    )
    return Chart("importances", title, caption, figure)


def _importances(snapshot: Snapshot, epoch: int) -> dict[str, float]:
    study = optuna.create_study()
    for trial in snapshot.trials:
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
    except (ValueError, RuntimeError):  # too few distinct values, or no common parameter
        return {}


def slices(snapshot: Snapshot) -> Iterator[Chart]:
    """The best figure of each trial over each parameter."""
    drawn = [trial for trial in snapshot.trials if math.isfinite(trial.value)]
    names = list(dict.fromkeys(name for trial in drawn for name in trial.params))
    top = top_of([trial.value for trial in drawn])
    for place, name in enumerate(names, 1):
        having = [trial for trial in drawn if name in trial.params]
        figure, axes = chart_of(2.35, 2.2)
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
            axes.scatter(x, y, gid=f"state-{state}", **dots(state))
        best = snapshot.best
        if best is not None and name in best.params:
            axes.scatter([_place(best, name, choices)], [best.value], **RING)
        frame(axes, "", top)
        axes.locator_params(axis="y", nbins=5)
        axes.set_title(plots.shortened(name, 24), parse_math=False, **CHART_TITLE)
        slug = re.sub(r"[^\w-]+", "-", name)[:40]
        yield Chart(f"slice-{place:02d}-{slug}", name, "", figure, tips)


def _all_of(axes: "Axes", distribution: FloatDistribution | IntDistribution) -> None:
    """Show the whole range of a number, including untried parts."""
    from matplotlib.ticker import LogFormatter

    low, high = distribution.low, distribution.high
    if distribution.log:
        axes.set_xscale("log")
        if high >= 10 * low:  # otherwise ticks need more digits than the formatter writes
            # Plain 1e-08 is drawn in a third of the time of a formula.
            axes.xaxis.set_major_formatter(LogFormatter())
            axes.xaxis.set_minor_formatter(LogFormatter())
        margin = (high / low) ** 0.05
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.5
        axes.set_xlim(low - margin, high + margin)
        axes.locator_params(axis="x", nbins=4)


def _place(trial: TrialView, name: str, choices: Sequence[Any]) -> float:
    """The x position of a value; choices are spread by trial so that dots do not overlap."""
    if not choices:
        return float(trial.params[name])
    return choices.index(trial.params[name]) + 0.5 * ((trial.number * 0.618034) % 1 - 0.5)
