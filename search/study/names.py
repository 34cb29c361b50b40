"""Derive the name of a search's study, if the user did not give one.

The same images belong to the same study, whatever their path. If a name derived from a path is
invalid or taken, another name is derived.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import RDBStorage

from data.catalog import located
from search.study.opening import Opening
from search.study.recipe import StudyRecipe
from storage.errors import StorageError
from storage.files import checked_name
from storage.study import summaries

BASELINES = "baselines"  # the "study" of documented runs, which belong to data and not to a study
ANY = "images"  # for paths without a usable name

_LONGEST = 60  # characters of a derived name
_NUMBER = re.compile(r"v?\d+(\.\d+)*", re.IGNORECASE)
_SHORT = 6  # minimum digits of a fingerprint in a name


@dataclass(frozen=True)
class ExistingStudy:
    """A study in the database.

    Attributes:
        recipe: What its trials have in common; None if treino did not make it.
        places: Its images, as its openings named them.
        derived: Whether its name is known to be derived from such a name, not given.
        empty: Whether its creation was interrupted: it has neither a recipe nor trials.
    """

    recipe: StudyRecipe | None
    places: tuple[str, ...] = ()
    derived: bool = False
    empty: bool = False

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its images; empty if treino did not make it."""
        return self.recipe.images.fingerprint if self.recipe else ""


def existing_studies(storage: RDBStorage) -> dict[str, ExistingStudy]:
    """The studies in a database by name, in order of creation."""
    studies = {}
    for row in summaries(storage):
        recipe = StudyRecipe.stored_in(row.attributes)
        openings = Opening.all_stored_in(row.attributes)
        studies[row.name] = ExistingStudy(
            recipe=recipe,
            places=tuple(dict.fromkeys(opening.data for opening in openings)),
            derived=any(opening.name_derived for opening in openings),
            empty=recipe is None and not row.trials,
        )
    return studies


def plain_name(data: str, ending: str = "") -> str:
    """A valid name from a data set's name or path: the last meaningful parts of the path.

    Version numbers are appended to the name before them: ``birds/versions/2`` is ``birds-2``.
    """
    path = Path(os.path.abspath(located(data)))  # noqa: PTH100 - links keep their own names
    versions: list[str] = []
    for part in reversed(path.parts[1:]):
        if _NUMBER.fullmatch(part):
            versions.insert(0, part)
        elif part.lower() not in ("versions", "version") or not versions:
            name = _cleaned("-".join([part, *versions]))
            break
    else:
        name = _cleaned("-".join(versions))
    return _valid(f"{name}{ending}") or f"{name}-{ANY}{ending}"


def derived_name(
    data: str, recipe: StudyRecipe, there: Mapping[str, ExistingStudy], ending: str = ""
) -> str:
    """The name of the study for a search of ``data``.

    It is the study of an earlier search of these images, if there is one; else a new study.

    Args:
        data: A data set's name or path, as entered by the user.
        recipe: What the trials of the search have in common.
        there: The existing studies, oldest first.
        ending: Suffix of the name.
    """
    fingerprint = recipe.images.fingerprint
    names = list(_names(data, fingerprint, ending))
    for name in names:
        if name in there and there[name].fingerprint == fingerprint:
            return name
    for name, study in reversed(list(there.items())):
        # The study's name comes from an earlier path. Studies that the user named are not reused.
        paths = study.places
        derived = study.derived or any(name in _names(at, fingerprint, ending) for at in paths)
        if derived and study.recipe is not None and not study.recipe.differences(recipe):
            return name
    free = [name for name in names[1:] if name not in there or there[name].empty]
    return free[0] if free else names[-1]


def _names(data: str, fingerprint: str, ending: str) -> Iterator[str]:
    """Names that searches of a path may have derived. Earlier versions derived the first one."""
    yield _valid(f"{Path(data).name or ANY}{ending}") or plain_name(data, ending)
    yield plain_name(data, ending)
    plain = plain_name(data)
    for digits in range(_SHORT, len(fingerprint) + 1, 2):
        yield f"{plain}-{fingerprint[:digits]}{ending}"


def _cleaned(text: str) -> str:
    """A text without the characters that a name may not have."""
    text = unicodedata.normalize("NFC", text)
    shown = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text)
    shown = re.sub(r"[/\\]|\.{2,}", "-", " ".join(shown.split()))
    while len(shown.encode()) > _LONGEST:
        shown = shown[:-1]
    return shown.strip(" .-") or ANY


def _valid(name: str) -> str:
    """``name`` if it is a valid study name, else an empty text."""
    with suppress(StorageError):
        if name.casefold() != BASELINES:
            return checked_name(name)
    return ""
