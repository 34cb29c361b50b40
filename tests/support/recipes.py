"""Recipes and openings of studies, with defaults for all that a test does not mention."""

from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.spaces.builtin import make_space
from search.spaces.records import SpaceRecord
from search.spaces.training_defaults import TrainingDefaults
from search.study.opening import Opening, open_study
from search.study.recipe import ImagesRecord, StudyRecipe


def recipe(
    images: str = "images",
    fingerprint: str = "5f1e",
    *,
    side: int = 32,
    classes: tuple[str, ...] = ("dark", "light"),
    space: SpaceRecord | str = "documents",
    monitor: str = "val_loss",
    seed: int = 7,
    size: str = "",
    epochs: int = 20,
    **training: Any,
) -> StudyRecipe:
    """A recipe; a space is a record, or the name of a built-in one."""
    defaults = TrainingDefaults(epochs=epochs, **training)
    record = make_space(space, defaults, side).record() if isinstance(space, str) else space
    shown = ImagesRecord(name=images, fingerprint=fingerprint, side=side, classes=classes)
    return StudyRecipe(
        images=shown, space=record, training=defaults, monitor=monitor, seed=seed, size=size
    )


def opening(data: str = "/data/images", **others: Any) -> Opening:
    """An opening."""
    content = {
        "name_derived": True,
        "decoded": "decoded",
        "skip_bad_images": False,
        "image_limit": None,
        "settings": {},
        "versions": {"keras": "3"},
        **others,
    }
    return Opening(data=data, **content)


def begun(
    storage: RDBStorage, name: str, made: StudyRecipe | None = None, data: str = "/data/images"
) -> optuna.Study:
    """A study as a search opens it."""
    return open_study(storage, name, made or recipe(), opening(data))[0]
