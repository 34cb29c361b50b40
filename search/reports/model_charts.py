"""Charts of a delivered model: its curves, confusion matrix and mistakes."""

import numpy as np

from search.figures import plots
from search.figures.plots import BLUE, INK, MUTED
from search.figures.svg import Chart
from search.reports.chart_parts import CHART_TITLE, MOST_LABELLED, WIDTH, fitted, frame, tint
from search.study.evaluation_record import EvaluationRecord, mistakes_figure
from search.study.snapshot import Snapshot


def of_model(snapshot: Snapshot) -> list[Chart]:
    """Charts of the retrained model: its curves, confusion matrix and mistakes."""
    charts = []
    for name in ("loss", "accuracy"):
        if snapshot.retraining:
            figure, axes = fitted(3.2)
            monitor = snapshot.recipe.monitor
            plots.draw_panels(figure, {name: axes}, snapshot.retraining, columns=3, monitor=monitor)
            tint(axes)
            caption = (
                "Training figures are measured during the epoch, with dropout on; validation "
                "figures after it. The ring marks the epoch of the delivered weights."
            )
            charts.append(Chart(f"retrained-{name}", f"Retraining: {name}", caption, figure))
    if snapshot.tested is not None:
        charts += [_confusion(snapshot.tested), _by_class(snapshot.tested)]
        if snapshot.tested.mistakes:
            title = "Most confidently wrong"
            caption = "Each image with its true class, the predicted class and its probability."
            figure = mistakes_figure(snapshot.tested, title)
            charts.append(Chart("mistakes", title, caption, figure))
    return charts


def _confusion(tested: EvaluationRecord) -> Chart:
    title = "Confusion matrix"
    figure = plots.confusion_figure(np.array(tested.confusion), tested.classes, title, WIDTH)
    caption = (
        f"Counts of {tested.images:,} test images. Rows are the true classes; a cell is darker "
        "the larger its share of the row."
    )
    return Chart("confusion", title, caption, figure)


def _by_class(tested: EvaluationRecord) -> Chart:
    matrix = np.array(tested.confusion)
    totals = matrix.sum(axis=1)
    shares = np.diag(matrix) / np.maximum(totals, 1)
    order = np.argsort(shares)
    if len(order) > 2 * MOST_LABELLED:  # with many classes, the worst and the best
        order = np.concatenate([order[:MOST_LABELLED], order[-MOST_LABELLED:]])
    figure, axes = fitted(0.9 + 0.28 * len(order))
    axes.barh(range(len(order)), shares[order], 0.7, color=BLUE)
    for row, share in enumerate(shares[order]):  # right of all bars and the dashed line
        axes.text(1.03, row, f"{share:.1%}", va="center", fontsize=9, color=INK)
    names = [plots.shortened(tested.classes[n], 18) for n in order]
    axes.set_yticks(range(len(order)), names, parse_math=False)
    axes.axvline(tested.accuracy, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    frame(axes, "", None)
    axes.grid(visible=False)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    title = "Accuracy by class"
    axes.set_title(title, **CHART_TITLE)
    few = (
        f", the {MOST_LABELLED} hardest and the {MOST_LABELLED} easiest"
        if len(order) < len(shares)
        else ""
    )
    caption = (
        f"Share of each class's test images that were classified correctly{few}. The dashed "
        f"line is the share of all images, {tested.accuracy:.2%}."
    )
    return Chart("accuracy-by-class", title, caption, figure)
