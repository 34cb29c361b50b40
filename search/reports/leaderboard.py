"""One table of trials, baselines, retrained models and the report's own figures."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from models.documented import DOCUMENTED
from models.history import MAXIMISED, OF_PREDICTIONS, EpochFigures, best_epoch
from search.console.terminal import printable
from search.intervals import of_share
from search.study.attributes import LATENCY
from search.study.evaluation_record import test_images
from search.study.fold_record import KIND as FOLD
from search.study.fold_record import Folded, folded_trials
from search.study.recipe import recipe_of
from search.study.study_front import StudyFront, front_of
from search.study.trials import history, run_name
from storage.files import Layout
from storage.tables import ModelRow, Records

CSV_COLUMNS = (
    *("name", "kind", "val_accuracy", "test_accuracy", "test_images"),
    *("test_interval_low", "test_interval_high", "val_loss", "parameters", "epochs", "seconds"),
    *("val_macro_f1", "val_auc", "val_spread", "latency_ms"),
)
"""Columns of the leaderboard as CSV. Programs depend on their names."""


@dataclass(frozen=True)
class Row:
    """One row of the leaderboard; unknown values are None.

    Attributes:
        name: Title of the model.
        kind: ``trial``, ``folds``, ``retrain``, ``ensemble``, ``baseline`` or ``documents``.
        val_accuracy: Share of validation images classified correctly, 0 to 1.
        test_accuracy: The same for the test images.
        test_images: Number of test images.
        test_interval: 95 % interval of the test accuracy.
        val_macro_f1: Mean F1 score of the classes on the validation images, 0 to 1.
        val_auc: Mean area under the ROC curve of the classes on them, 0 to 1.
        val_spread: Standard deviation of the validation accuracy over folds.
        latency_ms: Time in ms for one image, of a study that minimises it.
        val_loss: Mean cross-entropy on the validation images, in nats, without the L2 penalty.
        parameters: Number of weights.
        epochs: Epochs trained.
        seconds: Wall time of the training.
    """

    name: str
    kind: str
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    val_loss: float | None = None
    parameters: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    test_images: int | None = None
    test_interval: tuple[float, float] | None = None
    val_macro_f1: float | None = None
    val_auc: float | None = None
    val_spread: float | None = None
    latency_ms: float | None = None


def rows(
    study: optuna.Study | None, records: Records, layout: Layout, most_trials: int | None = None
) -> list[Row]:
    """The leaderboard, best validation accuracy first, or best macro F1 or AUC if monitored.

    Args:
        study: The study; None for the baselines alone.
        records: treino's tables.
        layout: Location of the models' files.
        most_trials: Number of best trials to list; None for all.
    """
    every = records.models()
    models = [model for model in every if model.kind not in ("pair", FOLD)]
    rows: list[Row] = []
    first = "val_accuracy"
    latencies: Mapping[int, float] = {}
    if study is not None:
        recipe = recipe_of(study)
        images = recipe.images
        first = recipe.monitor if recipe.monitor in OF_PREDICTIONS else first
        front = front_of(study)
        trials = sorted(
            _trials(study, records, recipe.monitor, front), key=lambda row: _rank(row, first)
        )
        rows += trials[:most_trials]
        latencies = front.sizes if front is not None and front.size == "latency" else {}
        models = [
            model
            for model in models
            if model.study == study.study_name
            or (model.kind == "baseline" and model.fingerprint == images.fingerprint)
        ]
        of_study = [model for model in every if model.study == study.study_name]
        rows += map(_of_folds, folded_trials(of_study, recipe.monitor))
        if images.of_cifar10:
            rows += _reported()
    rows += [_of_model(model, layout, latencies) for model in models]
    return sorted(rows, key=lambda row: _rank(row, first))


def table(rows: Sequence[Row], title: str) -> Table:
    """The leaderboard for a terminal, in 80 columns, with intervals below test accuracies."""
    drawn = Table(title=printable(title), title_justify="left", box=None, padding=(0, 0, 0, 2))
    if any(row.test_interval for row in rows):
        drawn.caption, drawn.caption_justify = "below each test_acc: its 95 % interval", "left"
    drawn.add_column("", overflow="fold")
    watched = [n for n in OF_PREDICTIONS if any(getattr(row, n) is not None for row in rows)]
    timed = any(row.latency_ms is not None for row in rows)
    last = "ms/image" if timed else "seconds"  # there is no room for both
    figures = (*watched, "val_acc", "test_acc", "val_loss", "parameters", "epochs", last)
    for heading in figures:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        drawn.add_row(
            printable(row.name),
            *(_text(getattr(row, name), ".4f") for name in watched),
            _text(row.val_accuracy, ".4f")
            + ("" if row.val_spread is None else f"\n± {row.val_spread:.4f}"),
            _tested(row),
            _text(row.val_loss, ".4f"),
            _text(row.parameters, ","),
            _text(row.epochs, "d"),
            _text(row.latency_ms, ".2f") if timed else _text(row.seconds, ",.0f"),
            style="bold" if row.kind in ("retrain", "ensemble", "baseline") else "",
        )
    return drawn


def to_csv(rows: Sequence[Row]) -> str:
    """The leaderboard as CSV text with a header: numbers in full, unknown values empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        low, high = row.test_interval or (None, None)
        values = asdict(row) | {"test_interval_low": low, "test_interval_high": high}
        writer.writerow({name: values[name] for name in CSV_COLUMNS})
    return text.getvalue()


def _trials(
    study: optuna.Study, records: Records, monitor: str, front: StudyFront | None
) -> list[Row]:
    wanted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    rows = []
    for trial in study.get_trials(deepcopy=False, states=wanted):
        if trial.state is TrialState.RUNNING:
            epochs = history(records, study.study_name, run_name(trial.number))
            rows += _unfinished(trial, epochs, monitor, front)
            continue
        attributes = trial.user_attrs
        reported = [v for v in trial.intermediate_values.values() if math.isfinite(v)]
        pruned = ", pruned" if trial.state is TrialState.PRUNED else ""
        rows.append(
            Row(
                name=f"trial {trial.number}{pruned}{_mark(front, trial.number)}",
                kind="trial",
                val_accuracy=attributes.get("val_accuracy"),
                # Reported is what the study minimises; with another one, val_loss is stored.
                val_loss=attributes.get("val_loss")
                if monitor in MAXIMISED
                else min(reported, default=None),
                **{name: attributes.get(name) for name in OF_PREDICTIONS if name == monitor},
                parameters=attributes.get("parameters"),
                epochs=attributes.get("epochs"),
                seconds=attributes.get("seconds"),
                latency_ms=attributes.get(LATENCY),
            )
        )
    return rows


def _unfinished(
    trial: FrozenTrial, epochs: Sequence[EpochFigures], monitor: str, front: StudyFront | None
) -> list[Row]:
    """The row of a trial that has not ended, by its epochs so far; none before the first.

    A trial's attributes are stored at its end.
    """
    best = best_epoch(epochs, monitor)
    if best is None:
        return []
    return [
        Row(
            name=f"trial {trial.number}, unfinished{_mark(front, trial.number)}",
            kind="trial",
            val_accuracy=best.val_accuracy,
            val_loss=best.val_loss,
            **{name: getattr(best, name) for name in OF_PREDICTIONS if name == monitor},
            epochs=len(epochs),
            seconds=round(sum(figures.seconds for figures in epochs), 1),
            latency_ms=trial.user_attrs.get(LATENCY),
        )
    ]


def _mark(front: StudyFront | None, number: int) -> str:
    mark = "" if front is None else front.mark(number)
    return f", {mark}" if mark else ""


def _of_folds(of: Folded) -> Row:
    watched = None if of.watched is None else of.watched.mean
    return Row(
        name=of.title,
        kind="folds",
        val_accuracy=of.val_accuracy.mean,
        val_loss=of.val_loss.mean,
        parameters=of.parameters or None,
        seconds=of.seconds,
        val_spread=of.val_accuracy.deviation,
        val_macro_f1=watched if of.monitor == "val_macro_f1" else None,
        val_auc=watched if of.monitor == "val_auc" else None,
    )


def _of_model(model: ModelRow, layout: Layout, latencies: Mapping[int, float]) -> Row:
    """The row of a model; ``latencies`` are those of the study's trials, by number."""
    images = test_images(layout, model)
    return Row(
        name=model.title,
        kind=model.kind,
        val_accuracy=model.val_accuracy,
        test_accuracy=model.test_accuracy,
        val_loss=model.val_loss,
        parameters=model.parameters,
        epochs=model.epochs,
        seconds=model.seconds,
        test_images=images,
        test_interval=of_share(model.test_accuracy, images) if images else None,
        val_macro_f1=model.val_macro_f1,
        val_auc=model.val_auc,
        latency_ms=None if model.trial is None else latencies.get(model.trial),
    )


def _reported() -> list[Row]:
    """The report's own figures, without val_loss, which includes the L2 penalty there."""
    return [
        Row(
            name=f"documents' {run.name}",
            kind="documents",
            val_accuracy=run.val_accuracy,
            test_accuracy=run.test_accuracy,
        )
        for run in DOCUMENTED.values()
        if run.val_accuracy is not None
    ]


def _rank(row: Row, figure: str) -> float:
    value = getattr(row, figure)
    return -value if value is not None else math.inf


def _tested(row: Row) -> str:
    if row.test_interval is None:
        return _text(row.test_accuracy, ".4f")
    low, high = row.test_interval
    return f"{row.test_accuracy:.4f}\n{low:.3f}-{high:.3f}"


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
