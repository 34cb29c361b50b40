"""Converts what treino 0.1 stored with a study to today's form.

It stored texts: ``made_with`` and, for each opening, ``made_by`` or an entry of ``continued_by``.
Studies keep what they were made with, so this stays as long as such studies are to be resumed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from data.names import as_text
from search.settings import Settings
from search.spaces.builtin import SPACES
from search.spaces.custom_ranges import changed_range
from search.spaces.hypermodel import OwnNetworks
from search.spaces.records import RangesRecord
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import OPENED_BY
from search.study.provenance import VERSIONED

MADE_WITH = "made_with"
# Settings that an opening has a field of its own for.
_WITH_A_FIELD = {"data", "image_size", "skip_bad_images", "images", *TrainingDefaults.model_fields}


def converted(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of a recipe from a study's user attributes; None if they are not treino's."""
    with suppress(KeyError, TypeError, ValueError):  # attributes of another program
        return _recipe(_texts(attributes[MADE_WITH]), _texts(attributes[OPENED_BY]))
    return None


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError("expected texts by name")
    return value


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
            "name": as_text(name),
            "fingerprint": fingerprint,
            "side": side,
            "classes": [as_text(each) for each in json.loads(made_by["classes"])],
        },
        "space": _space(space, json.loads(text), TrainingDefaults.model_validate(training), side),
        "training": training,
        "monitor": made_with["monitor"],
        "seed": int(made_with["seed"]),
    }


def _space(
    name: str, content: Mapping[str, Any], training: TrainingDefaults, side: int
) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise TypeError("expected ranges by parameter")
    if name == OwnNetworks.name:
        return {"kind": "code", **content}
    # The text had only ends and choices. Steps and scales are the built-in space's.
    builtin = SPACES[name](training, side).distributions()
    ranges = {
        parameter: changed_range(
            builtin[parameter],
            dict(zip(("low", "high"), ends, strict=True))
            if hasattr(builtin[parameter], "low")
            else ends,
        )
        for parameter, ends in content.items()
    }
    return RangesRecord.of(name, ranges).model_dump(mode="json")


def converted_opening(made_by: Mapping[str, str]) -> dict[str, Any]:
    """The content of an opening from the texts that 0.1 stored.

    Raises:
        KeyError, TypeError, ValueError: They are not treino's.
    """
    texts = _texts(made_by)
    hints = get_type_hints(Settings)
    settings = {}
    for name, text in texts.items():
        if name in hints and name not in _WITH_A_FIELD:
            with suppress(ValueError):  # then it is not shown
                settings[name] = _value(text, hints[name])
    return {
        "data": made_by["data"],
        "name_derived": made_by.get("named") == "derived",
        "decoded": made_by["decoded"],
        "skip_bad_images": made_by["skip_bad_images"] == "True",
        "image_limit": int(made_by["images"]) if made_by.get("images") else None,
        "code": made_by.get("code", ""),
        "settings": settings,
        "versions": {name: made_by[name] for name in VERSIONED if name in made_by},
    }


def _value(text: str, hint: Any) -> Any:
    """The value of a setting that 0.1 stored as text."""
    if hint is str or text == "None":  # paths may have bytes that pydantic refuses in a str
        return None if text == "None" else text
    return TypeAdapter(hint).validate_python(text)
