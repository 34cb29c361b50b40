"""Which study a search is about, where the user did not name one.

The same images belong to the same study, under whatever path they are found today. A name that
is derived from a path is never a reason to refuse: another is derived.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from data.catalog import located
from storage.engine import StorageError
from storage.files import checked_name
from storage.study import MadeStudy, fingerprint_of

BASELINES = "baselines"  # where trainings of documented runs belong: to no study, but to their data
ANY = "images"  # where a path says nothing

_LONGEST = 60  # characters of a derived name
_NUMBER = re.compile(r"v?\d+(\.\d+)*", re.IGNORECASE)
_SHORT = 6  # digits of a fingerprint that tell images apart in a name


def plain_name(data: str, ending: str = "") -> str:
    """A valid name after a data set's name or path: its last parts that say something.

    A version belongs to what it is a version of: ``birds/versions/2`` is ``birds-2``.
    """
    path = Path(os.path.abspath(located(data)))  # noqa: PTH100 - of links, too, as they are named
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
    data: str, made_with: Mapping[str, str], there: Mapping[str, MadeStudy], ending: str = ""
) -> str:
    """The study that a search of ``data`` is about.

    The one that an earlier search of these images made, if there is one; else a new one.

    Args:
        data: A data set's name or path, as the user gave it.
        made_with: What makes the trials of the search comparable.
        there: The studies there are, the oldest first.
        ending: Of the name.
    """
    fingerprint = fingerprint_of(made_with)
    names = list(_names(data, fingerprint, ending))
    for name in names:
        if name in there and _images_of(there[name]) == fingerprint:
            return name
    for name, study in reversed(list(there.items())):
        # Called after where the images were. What the user named stays what it was named for.
        places = study.places
        called = study.derived or any(name in _names(at, fingerprint, ending) for at in places)
        if called and study.comparable_with(made_with):
            return name
    free = [name for name in names[1:] if name not in there or there[name].empty]
    return free[0] if free else names[-1]


def _names(data: str, fingerprint: str, ending: str) -> Iterator[str]:
    """Names that searches of a path may have given their study, the first by earlier versions."""
    yield _valid(f"{Path(data).name or ANY}{ending}") or plain_name(data, ending)
    yield plain_name(data, ending)
    plain = plain_name(data)
    for digits in range(_SHORT, len(fingerprint) + 1, 2):
        yield f"{plain}-{fingerprint[:digits]}{ending}"


def _images_of(study: MadeStudy) -> str:
    return fingerprint_of(study.made_with) if study.made_with else ""


def _cleaned(text: str) -> str:
    """A text without what may not be in a name."""
    text = unicodedata.normalize("NFC", text)
    shown = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text)
    shown = re.sub(r"[/\\]|\.{2,}", "-", " ".join(shown.split()))
    while len(shown.encode()) > _LONGEST:
        shown = shown[:-1]
    return shown.strip(" .-") or ANY


def _valid(name: str) -> str:
    """``name`` if a study may be called that, else nothing."""
    with suppress(StorageError):
        if name.casefold() != BASELINES:
            return checked_name(name)
    return ""
