"""Listings of `treino data` and `treino studies`: images by class, studies by name."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rich.table import Table

from data.dataset import Dataset
from models.history import told_objective
from search.console.terminal import printable
from storage.study import StudySummaryRow

if TYPE_CHECKING:
    from search.study.recipe import StudyRecipe

SPLITS = ("training", "validation", "test")


def images(data: Dataset) -> dict[str, Any]:
    """The images of a search, counted by class and split, for JSON."""
    return {
        "name": data.name,
        "source": data.source,
        "fingerprint": data.fingerprint,
        "input_shape": data.input_shape,
        "warnings": data.warnings,
        "classes": [{"class": name} | of for name, of in _counts(data).items()],
    }


def table_of_images(data: Dataset) -> Table:
    """The same for a terminal."""
    name = printable(data.name)
    table = Table(title=f"{name}, {data.input_shape[0]} pixels, {data.fingerprint}")
    table.add_column("class", overflow="fold")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for name, of in _counts(data).items():
        table.add_row(printable(name), *(f"{of[split]:,}" for split in SPLITS))
    table.add_section()
    table.add_row("all", *(f"{len(split.labels):,}" for split in _splits(data).values()))
    return table


def table_of_studies(rows: Sequence[StudySummaryRow]) -> Table:
    """The studies of a database for a terminal."""
    from search.study.recipe import StudyRecipe  # not needed to list images, which is to be quick

    table = Table()
    for heading in ("study", "trials", "best", "data", "epochs", "started"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        # Optuna calls paused trials RUNNING, too.
        trials = ", ".join(
            f"{count} {'unfinished' if state == 'RUNNING' else state.lower()}"
            for state, count in row.trials.items()
        )
        started = row.started.astimezone().strftime("%Y-%m-%d %H:%M") if row.started else ""
        recipe = StudyRecipe.stored_in(row.attributes)
        best = ""
        if (value := _best_value(row, recipe)) is not None:
            best = told_objective(value, recipe.monitor if recipe else "val_loss")
        data, epochs = (
            (printable(str(recipe.images)), str(recipe.training.epochs)) if recipe else ("", "")
        )
        table.add_row(printable(row.name), trials, best, data, epochs, started)
    return table


def studies_as_json(rows: Sequence[StudySummaryRow]) -> list[dict[str, Any]]:
    """The studies of a database as plain values; ``recipe`` is None if treino did not make it."""
    from search.study.recipe import StudyRecipe

    listed = []
    for row in rows:
        recipe = StudyRecipe.stored_in(row.attributes)
        content = {field.name: getattr(row, field.name) for field in fields(row)}
        del content["attributes"], content["lowest_report"]
        content["best_value"] = _best_value(row, recipe)
        listed.append({**content, "recipe": recipe and recipe.stored()})
    return listed


def _best_value(row: StudySummaryRow, recipe: "StudyRecipe | None") -> float | None:
    """The lowest loss at any epoch, as elsewhere; of others' studies what Optuna says."""
    return row.best_value if recipe is None else row.lowest_report


def _splits(data: Dataset) -> dict[str, Any]:
    return dict(zip(SPLITS, (data.train, data.validation, data.test), strict=True))


def _counts(data: Dataset) -> dict[str, dict[str, int]]:
    return {
        name: {where: int((s.labels == number).sum()) for where, s in _splits(data).items()}
        for number, name in enumerate(data.classes)
    }
