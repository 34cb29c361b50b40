"""Converts what treino 0.1 stored with a study to today's form.

It stored texts: ``made_with`` and, for each opening, ``made_by`` or an entry of ``continued_by``.
Studies keep what they were made with, so this stays as long as such studies are to be resumed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from search.settings import Settings
from search.spaces.builtin import SPACES
from search.spaces.custom_ranges import changed_range
from search.spaces.hypermodel import OwnNetworks
from search.spaces.records import RangesRecord
from search.spaces.training_defaults import TrainingDefaults

MADE_WITH = "made_with"
_OF_OPENING = ("data", "named", "decoded", "image_size", "skip_bad_images", "images", "code")
_VERSIONS = ("python", "tensorflow", "keras", "optuna", "numpy", "treino")


def converted(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of a recipe from a study's user attributes; None if they are not treino's."""
    made_with, made_by = attributes.get(MADE_WITH), attributes.get("made_by")
    if not isinstance(made_with, dict) or not isinstance(made_by, dict):
        return None
    with suppress(KeyError, TypeError, ValueError):
        return _recipe(made_with, made_by)
    return None


def _recipe(made_with: Mapping[str, str], made_by: Mapping[str, str]) -> dict[str, Any]:
    name, _, fingerprint = made_with["data"].rpartition(" ")
    head, _, text = made_with["space"].partition(": ")
    space, _, order = head.partition(", ")
    training = {
        "epochs": int(made_with["epochs"]),
        "train_order": order,
        "augment": "augment" in made_with,
        "precision": made_with.get("precision", "float32"),
        "early_stopping": "early stopping" not in made_with,
    }
    side = int(made_by["image_size"])
    return {
        "images": {
            "name": name,
            "fingerprint": fingerprint,
            "side": side,
            "classes": json.loads(made_by["classes"]),
        },
        "space": _space(space, json.loads(text), TrainingDefaults.model_validate(training), side),
        "training": training,
        "monitor": made_with["monitor"],
        "seed": int(made_with["seed"]),
    }


def _space(
    name: str, content: Mapping[str, Any], training: TrainingDefaults, side: int
) -> dict[str, Any]:
    if name == OwnNetworks.name:
        return {"kind": "code", **content}
    # The text had only ends and choices. Steps and scales are the built-in space's.
    builtin = SPACES[name](training, side).distributions()
    ranges = {
        parameter: changed_range(
            builtin[parameter],
            dict(zip(("low", "high"), given, strict=True))
            if hasattr(builtin[parameter], "low")
            else given,
        )
        for parameter, given in content.items()
    }
    return RangesRecord.of(name, ranges).model_dump(mode="json")


def converted_opening(made_by: Mapping[str, str]) -> dict[str, Any]:
    """The content of an opening from the texts that 0.1 stored.

    Raises:
        ValueError: They are not treino's.
    """
    hints = get_type_hints(Settings)
    settings = {
        name: _value(text, hints[name])
        for name, text in made_by.items()
        if name in hints and name not in _OF_OPENING
    }
    return {
        "data": made_by["data"],
        "name_derived": made_by.get("named") == "derived",
        "decoded": made_by["decoded"],
        "skip_bad_images": made_by["skip_bad_images"] == "True",
        "images": int(made_by["images"]) if made_by.get("images") else None,
        "code": made_by.get("code", ""),
        "settings": settings,
        "versions": {name: made_by[name] for name in _VERSIONS if name in made_by},
    }


def _value(text: str, hint: Any) -> Any:
    """The value of a setting that 0.1 stored as text."""
    if hint is str or text == "None":  # paths may have bytes that pydantic refuses in a str
        return None if text == "None" else text
    return TypeAdapter(hint).validate_python(text)
