"""Find identical images in two splits or in two classes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Looked:
    """A decoded image.

    Attributes:
        pixels: Digest of the decoded pixels.
        split: train, validation or test.
        label: The number of its class.
        path: Its file.
    """

    pixels: bytes
    split: str
    label: int
    path: Path


def repeats(images: Iterable[Looked], classes: Sequence[str]) -> list[str]:
    """Warnings about images in two splits or two classes, with a count and an example."""
    same: dict[bytes, list[Looked]] = defaultdict(list)
    for image in images:
        same[image.pixels].append(image)
    groups = [group for group in same.values() if len(group) > 1]
    return [
        *_leaks(groups, "validation", "train", "training"),
        *_leaks(groups, "test", "train", "training"),
        *_leaks(groups, "test", "validation", "validation"),
        *_contradictions(groups, classes),
    ]


def _leaks(groups: Sequence[Sequence[Looked]], split: str, other: str, name: str) -> Iterator[str]:
    """Warnings about images that are in two splits."""
    count, example = 0, ("", "")
    for group in groups:
        # Those also among the training images are reported there.
        if other != "train" and any(image.split == "train" for image in group):
            continue
        first = next((image.path for image in group if image.split == other), None)
        again = [image.path for image in group if image.split == split]
        if first and again:
            example = example if count else (str(again[0]), str(first))
            count += len(again)
    if count:
        yield (
            f"{count:,} of the {split} images are {name} images too, pixel for pixel "
            f"({example[0]} is {example[1]}): accuracy on them means nothing"
        )


def _contradictions(groups: Sequence[Sequence[Looked]], classes: Sequence[str]) -> Iterator[str]:
    """Warnings about images that are in two classes."""
    in_two_classes = [group for group in groups if len({image.label for image in group}) > 1]
    if not in_two_classes:
        return
    first = in_two_classes[0][0]
    second = next(image for image in in_two_classes[0] if image.label != first.label)
    are, they = ("images are", "they show") if len(in_two_classes) > 1 else ("image is", "it shows")
    yield (
        f"{len(in_two_classes):,} {are} in two classes, pixel for pixel ({first.path} in "
        f"{classes[first.label]!r} is {second.path} in {classes[second.label]!r}): "
        f"decide what {they}"
    )
