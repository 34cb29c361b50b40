"""What is said of an ensemble beside the best single model: a table, and lines."""

from collections.abc import Iterator

from rich.table import Table

from models.history import MAXIMISED, OF_PREDICTIONS
from search.console.text import plural
from search.intervals import of_share
from search.study.ensemble_record import EnsembleRecord, MeasuredModel

TIMES = "ms/image: one image at a time, on a processor of the machine that measured it"


def compared(record: EnsembleRecord) -> list[MeasuredModel]:
    """The single model, and the ensemble if there is one."""
    return [record.single, *([record.ensemble] if record.ensemble else [])]


def name_of(monitor: str) -> str:
    """A monitored figure in a sentence."""
    return "validation loss" if monitor == "val_loss" else monitor


def headings(record: EnsembleRecord) -> tuple[str, ...]:
    """Names of the figures that are compared."""
    watched = [record.monitor] if record.monitor in OF_PREDICTIONS else []
    return (*watched, "val_loss", "val_acc", "test_acc", "parameters", "ms/image")


def figures(model: MeasuredModel, record: EnsembleRecord) -> tuple[str, ...]:
    """The figures of a model as text, in the order of ``headings``."""
    low, high = of_share(model.test_accuracy, record.test_images)
    watched = getattr(model, record.monitor) if record.monitor in OF_PREDICTIONS else None
    return (
        *([] if watched is None else [f"{watched:.4f}"]),
        f"{model.val_loss:.4f}",
        f"{model.val_accuracy:.4f}",
        f"{model.test_accuracy:.4f} ({low:.4f} to {high:.4f})",
        f"{model.parameters:,}",
        f"{model.milliseconds:.2f}",
    )


def table(record: EnsembleRecord) -> Table:
    """Both models for a terminal, in 80 columns, with intervals below test accuracies."""
    drawn = Table(box=None, padding=(0, 0, 0, 2), caption_justify="left")
    drawn.caption = f"below each test_acc: its 95 % interval\n{TIMES}"
    drawn.add_column("", overflow="fold")
    for heading in headings(record):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for model in compared(record):
        *validated, tested, parameters, taken = figures(model, record)
        accuracy, _, interval = tested.partition(" ")
        below = interval.strip("()").replace(" to ", "-")
        drawn.add_row(model.title, *validated, f"{accuracy}\n{below}", parameters, taken)
    return drawn


def verdict(record: EnsembleRecord) -> list[str]:
    """The members of the ensemble, and which model is delivered and why, one per line."""
    return [*_members(record), _delivered(record)]


def section(record: EnsembleRecord) -> str:
    """The ensemble in the card of the delivered model, in Markdown.

    Titles need no escaping: they hold treino's own words and numbers only.
    """
    rows = "".join(
        f"| {model.title} | {' | '.join(figures(model, record))} |\n" for model in compared(record)
    )
    lines = "".join(f"- {line}\n" for line in verdict(record))
    return f"""
The best single model and a weighted average of models (an ensemble) that was selected by
{name_of(record.monitor)}; in brackets the 95 % interval:

| | {" | ".join(headings(record))} |
|---|{"---|" * len(headings(record))}
{rows}
{lines}- {TIMES}
"""


def _members(record: EnsembleRecord) -> Iterator[str]:
    members = record.members
    if not members:
        return
    total = sum(member.count for member in members)
    parts = ", ".join(f"{member.title} ({member.count}/{total})" for member in members)
    models = plural(len(record.candidates), "model")
    yield f"ensemble of {len(members)} of {models}, with weights: {parts}"


def _delivered(record: EnsembleRecord) -> str:
    single, ensemble, name = record.single, record.ensemble, name_of(record.monitor)
    better = "higher" if record.monitor in MAXIMISED else "lower"
    if len(record.candidates) == 1:
        return f"one model is too few for an ensemble: {single.title} is delivered"
    if ensemble is None:
        models = plural(len(record.candidates), "model")
        return (
            f"no average of the {models} has a {better} {name} than the best of them: "
            f"{single.title} is delivered"
        )
    averaged, alone = (getattr(model, record.monitor) for model in (ensemble, single))
    if record.delivered is single:
        return (
            f"the ensemble's {name}, {averaged:.4f}, is not {better} than {alone:.4f}: "
            f"{single.title} is delivered"
        )
    return (
        f"the ensemble is delivered: its {name} is {averaged:.4f}, that of {single.title}, in "
        f"runs/{single.run}, {alone:.4f}"
    )
