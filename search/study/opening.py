"""The openings of a study: where its images and code were, with which settings and versions.

They may differ from one search to the next. No search is refused for that.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from optuna import Study
from optuna.storages import RDBStorage
from pydantic import InstanceOf

from data.catalog import NAMES, located
from data.dataset import Dataset
from models.spec import Spec
from search.errors import TreinoError
from search.settings import OF_SEARCH, Settings
from search.spaces.builtin import Space
from search.spaces.hypermodel import OwnNetworks
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import OPENED_BY, RECIPE, REOPENED_BY
from search.study.provenance import versions
from search.study.recipe import StudyRecipe, recipe_of
from search.study.recipe_of_0_1 import converted_opening
from storage.engine import masked
from storage.study import open_or_create

# Settings of a search that the recipe or fields of their own have.
_ELSEWHERE = {
    *("data", "images", "skip_bad_images", "study", "image_size", "seed", "monitor", "objectives"),
    *TrainingDefaults.model_fields,
}
HOW_SEARCHED = tuple(name for name in OF_SEARCH if name not in _ELSEWHERE)
"""Settings that may change when a study is resumed, and where the space was read."""

Command = Literal["search", "record"]

# Paths may have undecodable bytes, which Python writes as lone surrogates and pydantic refuses.
PathText = InstanceOf[str]


class Opening(Spec):
    """One opening of a study by a search.

    Attributes:
        data: The images: name of a data set, or absolute path of a folder.
        name_derived: Whether the study's name was derived from that, not given by the user.
        decoded: Folder of the decoded images.
        skip_bad_images: Whether unreadable images were left out.
        image_limit: Number of training images to use; None for all.
        code: The user's function that builds the networks; empty if there is none.
        settings: The other settings, by name, without passwords.
        versions: Versions of Python, of packages and of treino.
        command: The command that opened it.
    """

    data: PathText
    name_derived: bool
    decoded: PathText
    skip_bad_images: bool
    image_limit: int | None
    code: PathText = ""
    settings: dict[str, Any]
    versions: dict[str, str]
    command: Command = "search"

    later_fields = ("command",)

    @classmethod
    def of_search(
        cls, settings: Settings, data: Dataset, space: Space, command: Command = "search"
    ) -> "Opening":
        """The opening of a study by a search."""
        source = settings.data
        if source not in ("auto", *NAMES):  # absolute, to be found from other folders, too
            source = str(located(source).resolve())
        return cls(
            data=source,
            name_derived=not settings.study,
            decoded=str(data.path),
            skip_bad_images=settings.skip_bad_images,
            image_limit=settings.images,
            code=space.code if isinstance(space, OwnNetworks) else "",
            settings={name: _stored(getattr(settings, name)) for name in HOW_SEARCHED},
            versions=versions(),
            command=command,
        )

    @classmethod
    def all_stored_in(cls, attributes: Mapping[str, Any]) -> list["Opening"]:
        """The openings in a study's user attributes, first to last; empty if it is not treino's."""
        contents = [attributes.get(OPENED_BY), *_later(attributes)]
        return [opening for content in contents if (opening := _read(content)) is not None]

    def stored(self) -> dict[str, Any]:
        """The form in which it is stored."""
        return self.model_dump()


def _stored(value: Any) -> Any:
    """A setting as JSON returns it, without the passwords of URLs."""
    if isinstance(value, tuple):
        return [_stored(each) for each in value]
    return masked(value) if isinstance(value, str) else value


def open_study(
    storage: RDBStorage, name: str, recipe: StudyRecipe, opening: Opening
) -> tuple[Study, bool]:
    """Open the study of a search, or create it.

    Acquire the study's lease first, so that no other process creates it at the same time.

    Args:
        storage: Opened for writing.
        name: Name of the study.
        recipe: What its trials have in common.
        opening: This opening. It is stored if it differs from the last one.

    Returns:
        The study, and whether it was created.

    Raises:
        TreinoError: It has another recipe, or treino did not make it.
        StorageError: The name is invalid.
    """
    # The recipe comes last: a study with a recipe is complete.
    new = {OPENED_BY: opening.stored(), RECIPE: recipe.stored()}
    study, created = open_or_create(storage, name, new, _is_complete, objectives=recipe.objectives)
    if created:
        return study, True
    if differing := recipe_of(study).differences(recipe):
        raise TreinoError(
            f"study {name!r} was made with {'; '.join(differing)}: its trials would not be "
            "comparable; name another STUDY=, or use the old values"
        )
    attributes = study.user_attrs
    if [opening] != Opening.all_stored_in(attributes)[-1:]:
        # The latest comes last, and each is there once, however often searches alternate.
        later = [content for content in _later(attributes) if _read(content) != opening]
        study.set_user_attr(REOPENED_BY, [*later, opening.stored()])
    return study, False


def openings_of(study: Study) -> list[Opening]:
    """The openings of a study, first to last; at least one.

    Raises:
        TreinoError: None can be read.
    """
    openings = Opening.all_stored_in(study.user_attrs)
    if not openings:
        raise TreinoError(
            f"study {study.study_name!r} does not say where its images are; name another STUDY="
        )
    return openings


def _is_complete(attributes: Mapping[str, Any]) -> bool:
    return RECIPE in attributes or StudyRecipe.stored_in(attributes) is not None


def _later(attributes: Mapping[str, Any]) -> list[Any]:
    later = attributes.get(REOPENED_BY, [])
    return later if isinstance(later, list) else []


def _read(content: object) -> Opening | None:
    """An opening as it is stored, by any version; None if it is not treino's."""
    if not isinstance(content, dict):
        return None
    with suppress(KeyError, TypeError, ValueError):
        new = "versions" in content
        return Opening.model_validate(content if new else converted_opening(content))
    return None
