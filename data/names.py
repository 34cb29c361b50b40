"""Names of files, folders and classes as text: any bytes, any Unicode."""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import combinations

_NUMBERED = re.compile(r"(\d+)[_ -]+(?=[^\d_ -])")  # "000_" of "000_airplane", not "0-" of "0-2"


_NUMBER_FIRST = re.compile(r"^\d+[_ -]+(?=.)")


def as_text(name: str) -> str:
    r"""A file's name as text; bytes that are not UTF-8 become escapes like ``\xe7``.

    The result does not depend on the locale.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Text for one line of UTF-8 output; unprintable characters are escaped."""
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that do not stand for bytes
        text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def class_names(folders: Sequence[str]) -> tuple[str, ...]:
    """Class names for class folders, without leading numbers: ``000_airplane`` is ``airplane``.

    Numbers are removed only if each folder has one, all are equally wide, each is followed by a
    name, and the names differ. So ``0-2`` and ``4-6`` keep theirs.
    """
    names = tuple(as_text(folder) for folder in folders)
    matches = [match for name in names if (match := _NUMBERED.match(name))]
    if len(matches) < len(names) or len({len(match[1]) for match in matches}) > 1:
        return names
    short = tuple(match.string[match.end() :] for match in matches)
    return short if len(set(short)) == len(short) else names


def former_class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names in earlier versions: any leading number removed."""
    names = tuple(_NUMBER_FIRST.sub("", name) for name in classes)
    return names if len(set(names)) == len(names) else tuple(classes)


def composed(name: str) -> str:
    """The name in Unicode form NFC: macOS writes accents as separate characters."""
    return unicodedata.normalize("NFC", name)


def spelling(name: str) -> str:
    """A name with code points and Unicode form, to distinguish it from a look-alike."""
    text = as_text(name)
    forms = [form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)]
    return f"{text!a} (Unicode {forms[0]})" if len(forms) == 1 else ascii(text)


def alike(name: str, other: str) -> bool:
    """Whether two names look the same to a reader."""
    return name != other and _look(name) == _look(other)


def pairs_alike(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The pairs of names that look the same."""
    looks: dict[str, list[str]] = {}
    for name in names:
        looks.setdefault(_look(name), []).append(name)
    for same in looks.values():
        yield from combinations(same, 2)


def _look(name: str) -> str:
    text = unicodedata.normalize("NFKC", as_text(name))
    # Direction and width marks, joiners and the like are invisible.
    shown = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(shown.split()))
