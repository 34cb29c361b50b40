"""Find splits and classes in an image folder."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data.dataset import SPLITS, DataError
from data.tree import Folder

# Words for each split. If two folders match one split, the later word wins.
_WORDS = {
    "train": ("training", "train"),
    "validation": ("val", "valid", "validation"),
    "test": ("evaluation", "testing", "test"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_RANK = {word: rank for words in _WORDS.values() for rank, word in enumerate(words)}
_ANY_WORD = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
# "seg_train" and "train_images" are splits if "seg_test" and "test_images" are beside them.
_SPLIT_NAME = re.compile(
    rf"(.*?)(?<![^\W\d_])({_ANY_WORD})(?![^\W\d_])(.*)", re.IGNORECASE | re.DOTALL
)
_NUMBERED_TRAIN = re.compile(r"train[ _-]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """The places of the splits or classes of a folder.

    Attributes:
        wrappers: The enclosing folders, each of which holds nothing else.
        folder: The folder that holds the splits, or the classes where there are no splits.
        splits: The folder of each split; "train" is among them unless there are none.
    """

    wrappers: tuple[Folder, ...]
    folder: Folder
    splits: dict[str, Folder]


def find_layout(root: Folder) -> Layout:
    """Find the layout of ``root``.

    A folder is a split only if it has a split's name and contains class folders: a class may be
    called train.

    Raises:
        DataError: The layout is ambiguous, or there is no training split.
    """
    chain = unwrapped(root)
    for depth in reversed(range(len(chain))):
        if splits := _splits_in(chain[depth]):
            return Layout(tuple(chain[:depth]), chain[depth], splits)
    return Layout(tuple(chain[:-1]), chain[-1], {})


def unwrapped(folder: Folder) -> list[Folder]:
    """The folder, then its only folder, and so on, down to one that holds several.

    A folder of images is a class, not a wrapper.
    """
    chain = [folder]
    while len(chain[-1].folders) == 1:
        (only,) = chain[-1].folders.values()
        if only.linked or not any(sub.holds_images() for sub in only.folders.values()):
            break
        chain.append(only)
    return chain


def class_parents(split: Folder, *, parts: bool) -> list[Folder]:
    """The folders that hold a split's class folders: one, or several with ``parts``.

    Args:
        split: The folder of the split.
        parts: Whether the split may hold train1, train2, ... with the class folders.
    """
    chain = unwrapped(split)
    for folder in chain if parts else ():
        numbered = [folder.folders[part] for part in part_folders(list(folder.folders))]
        if several := [part for part in numbered if _has_classes(part)]:
            return several
    return chain[-1:]


def part_folders(folders: Sequence[str]) -> list[str]:
    """The training folders train1, train2, ... among ``folders``, by their number."""
    numbered = [(match, f) for f in folders if (match := _NUMBERED_TRAIN.fullmatch(f))]
    return [folder for _, folder in sorted((int(match[1]), folder) for match, folder in numbered)]


def _splits_in(folder: Folder) -> dict[str, Folder]:
    """The split folders in a folder; empty if it holds classes."""
    for decorated, named in _named_splits(folder):
        labelled = [split for split in SPLITS if split in named and _has_classes(named[split])]
        if not labelled or (decorated and "train" not in labelled):
            continue
        if len(labelled) > 1 and "train" in labelled:
            return named
        used = {sub.path for sub in named.values()}
        others = [sub for sub in folder.folders.values() if sub.path not in used]
        others = [sub for sub in others if sub.holds_images()]
        if decorated:
            if len(named) > 1 and not others:
                return named
        elif "train" in labelled:
            if not others:
                return named
            _check_train_is_class(folder, named["train"], others)
        elif "train" in named and len(labelled) > 1:
            raise DataError(f"{named['train'].path} holds fewer than two class folders")
        elif len(labelled) > 1 or not others:
            raise DataError(
                f"{folder.path} has {' and '.join(labelled)} but no folder 'train': add it, or "
                "give a folder of class folders alone, which is split 80/10/10"
            )
    return {}


def _named_splits(folder: Folder) -> Iterator[tuple[bool, dict[str, Folder]]]:
    """Folders whose names differ only in the split's word; exact words come first."""
    groups: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
    for name in folder.folders:
        if match := _SPLIT_NAME.fullmatch(name):
            before, word, after = (part.lower() for part in match.groups())
            groups[before, after].append((_RANK[word], name, _SPLIT_OF[word]))
    for (before, after), named in sorted(groups.items()):
        decorated = bool(before or after)
        yield decorated, {split: folder.folders[name] for _, name, split in sorted(named)}


def _has_classes(split: Folder) -> bool:
    """Whether a folder contains class folders, or only empty folders."""
    inner = split.folders.values()
    return bool(inner) and (not split.image_count or any(sub.holds_images() for sub in inner))


def _check_train_is_class(folder: Folder, train: Folder, others: Sequence[Folder]) -> None:
    """Check that a folder "train" beside folders of images is a class like them.

    Raises:
        DataError: It may be the training split instead.
    """
    if train.image_count or all(_has_classes(other) for other in others):
        return
    raise DataError(
        f"{train.path} holds folders of images and {others[0].path} holds images: if the former "
        f"is a split, move the latter out of {folder.path}; if both are classes, put the images "
        "of the former into one folder"
    )
