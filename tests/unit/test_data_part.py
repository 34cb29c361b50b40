"""A part of a data set: seeded, stratified, with a fingerprint of its own."""

from pathlib import Path

import numpy as np
import pytest

from data.catalog import load
from data.dataset import DataError, Dataset
from tests.support.pictures import pictures


def counts(data: Dataset, split: str) -> list[int]:
    return np.bincount(getattr(data, split).labels, minlength=len(data.classes)).tolist()


def test_each_class_keeps_its_share_of_each_split(tmp_path: Path) -> None:
    whole = load("digits", image_size=8, cache=tmp_path).dataset
    part = load("digits", image_size=8, cache=tmp_path, images=300).dataset
    for split in ("train", "validation", "test"):
        share = 300 / len(whole.train.labels)
        for kept, of in zip(counts(part, split), counts(whole, split), strict=True):
            assert abs(kept - of * share) <= 1
        images = {image.tobytes() for image in getattr(whole, split).images}
        assert all(image.tobytes() in images for image in getattr(part, split).images)
        assert sum(getattr(part, split).parts) == len(getattr(part, split).labels)
    assert abs(len(part.train.labels) - 300) <= 5
    assert f"({len(part.train.labels)} images)" in part.name
    assert part.fingerprint != whole.fingerprint
    assert part.classes == whole.classes


def test_the_seed_decides_which(tmp_path: Path) -> None:
    def part(seed: int, cache: str, images: int = 200) -> Dataset:
        return load(
            "digits", image_size=8, seed=seed, cache=tmp_path / cache, images=images
        ).dataset

    first, same = part(0, "a"), part(0, "b")
    assert first.fingerprint == same.fingerprint
    assert np.array_equal(first.train.images, same.train.images)
    assert part(0, "a").path == first.path
    assert part(0, "a", 201).fingerprint != first.fingerprint
    other = part(1, "a")
    assert other.fingerprint != first.fingerprint
    assert not np.array_equal(other.train.images, first.train.images)


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    whole = load("digits", image_size=8, cache=tmp_path).dataset
    part = load("digits", image_size=8, cache=tmp_path, images=50).dataset
    label_of = {
        image.tobytes(): label
        for image, label in zip(whole.train.images, whole.train.labels, strict=True)
    }
    for image, label in zip(part.train.images, part.train.labels, strict=True):
        assert label_of[image.tobytes()] == label


def test_the_documents_folders_keep_their_parts(tmp_path: Path) -> None:
    from PIL import Image

    for seed, folder in enumerate(("train/train1", "train/train2", "validation", "test")):
        made = pictures(12 * (seed + 1), seed)
        for number, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
            kept = tmp_path / "images" / folder / ("dark", "grey", "light")[label]
            kept.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(kept / f"{number}.png")
    place = str(tmp_path / "images")
    whole = load(place, image_size=8, cache=tmp_path / "cache").dataset
    part = load(place, image_size=8, cache=tmp_path / "cache", images=18).dataset
    assert whole.train.parts == (12, 24)
    assert sum(part.train.parts) == 18
    first = {image.tobytes() for image in whole.train.images[:12]}
    inside = [image.tobytes() in first for image in part.train.images]
    assert part.train.parts == (sum(inside), 18 - sum(inside))
    assert inside == sorted(inside, reverse=True)


def test_more_images_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    whole = load("digits", image_size=8, cache=tmp_path).dataset
    part = load("digits", image_size=8, cache=tmp_path, images=10**6).dataset
    assert part.fingerprint == whole.fingerprint


def test_fewer_images_than_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--images 9: digits.* needs at least 10"):
        load("digits", image_size=8, cache=tmp_path, images=9)
