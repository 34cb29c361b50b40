"""Builds the commands that start, resume or reproduce a study."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from search.settings import OF_RECORD, Settings
from search.study.opening import Opening
from search.study.recipe import StudyRecipe
from search.study.retraining_record import RetrainingRecord
from storage.tables import ModelRow

_LINE = 60  # characters
_DEFAULTS = {field.name: field.default for field in fields(Settings)}


def search_command(study: str, recipe: StudyRecipe, opening: Opening) -> str:
    """The command that searched or recorded, as far as the study stores it.

    It has all that makes trials comparable, and other settings that are not the default.

    Args:
        study: Name of the study.
        recipe: What its trials have in common.
        opening: One opening of the study.
    """
    fixed = {
        "data": opening.data,
        "study": study,
        "image_size": recipe.images.side,
        "images": opening.image_limit,
        "seed": recipe.seed,
        "monitor": recipe.monitor,
        "objectives": recipe.objectives_setting if recipe.size else None,
        **recipe.training.model_dump(exclude={"monitor"}),
    }
    free = {**opening.settings, "skip_bad_images": opening.skip_bad_images}
    changed = {name: value for name, value in free.items() if value != _DEFAULTS.get(name)}
    values = {**fixed, **changed}
    if opening.command == "record":
        values = {name: value for name, value in values.items() if name in OF_RECORD}
        values["configurations"] = opening.settings["trials"]
    return _over_lines([f"treino {opening.command}", *_options(values)])


def baseline_command(recipe: StudyRecipe, opening: Opening) -> str:
    """The command that trains the documents' run 10 on the images of a study."""
    images = {
        "data": opening.data,
        "image_size": recipe.images.side,
        "skip_bad_images": opening.skip_bad_images,
        "images": opening.image_limit,
        "seed": recipe.seed,
    }
    needed = {name: value for name, value in images.items() if value != _DEFAULTS[name]}
    return " ".join(["treino baseline run-10", *_options(needed)])


def of_study(command: str, study: str) -> str:
    """A command of treino's on a study, such as ``claims --settle``."""
    return f"treino {command} --study {shlex.quote(study)}"


def retrain_command(model: ModelRow, record: RetrainingRecord | None) -> str:
    """The command that retrained a delivered model.

    Args:
        model: The model.
        record: How it was retrained; None if that is not stored, as in earlier versions.
    """
    if record is None:
        spec = json.loads(model.spec)
        if made := spec.get("ensemble"):
            numbers = {name: made[name] for name in ("epochs", "top", "seeds")}
            record = RetrainingRecord(**numbers, ensemble=True)
        else:
            record = RetrainingRecord(epochs=spec["training"]["epochs"])
    default = RetrainingRecord(epochs=0)
    options = record.model_dump()
    changed = {name: value for name, value in options.items() if value != getattr(default, name)}
    if record.ensemble or record.folds:  # which train several trials by default
        changed["top"] = record.top
    return " ".join(["treino retrain-best", *_options({"study": model.study, **changed})])


def _options(values: Mapping[str, Any]) -> Iterator[str]:
    """The options of a command with these values, by name; none for None."""
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{flag}"
        elif isinstance(value, list | tuple):
            yield from (f"--{flag} {shlex.quote(str(each))}" for each in value)
        elif value is not None:
            yield f"--{flag} {shlex.quote(str(value))}"


def _over_lines(parts: Sequence[str]) -> str:
    """Split a command over several lines with continuations."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) > _LINE:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {part}"
    return "\n".join(lines)
