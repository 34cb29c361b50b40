"""Folds: every image validates once, and each class has its share of each."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import Dataset, Split
from data.fold import Fold, folded, most_folds


def dataset(train: list[int], validation: list[int], parts: tuple[int, ...] = ()) -> Dataset:
    """Images of one pixel whose value is their place."""

    def split(labels: list[int], first: int, sizes: tuple[int, ...]) -> Split:
        values = np.arange(first, first + len(labels), dtype=np.uint8)
        images = np.broadcast_to(values[:, None, None, None], (len(labels), 1, 1, 3)).copy()
        return Split(images, np.array(labels, np.int32), sizes)

    one = split(train, 0, parts or (len(train),))
    two = split(validation, len(train), (len(validation),))
    return Dataset("d", "made up", ("a", "b"), one, two, two, "f", Path("decoded"))


def places(split: Split) -> list[int]:
    return [int(image[0, 0, 0]) for image in split.images[:]]


labels = st.lists(st.integers(0, 1), min_size=6, max_size=60)


@given(labels, labels, st.integers(2, 5), st.integers(0, 99))
def test_every_image_validates_once(
    train: list[int], validation: list[int], count: int, seed: int
) -> None:
    data = dataset(train, validation)
    every = np.array([*train, *validation])
    seen: list[int] = []
    for number in range(count):
        fold = folded(data, Fold(number, count, seed))
        rows, others = places(fold.validation), places(fold.train)
        assert sorted(rows + others) == list(range(len(every)))
        for split, at in ((fold.train, others), (fold.validation, rows)):
            assert split.labels.tolist() == every[at].tolist()
            assert sum(split.parts) == len(at) == len(split.images)
            assert split.images.shape == (len(at), 1, 1, 3)
        for label in (0, 1):
            of_class = int((every == label).sum())
            inside = int((fold.validation.labels == label).sum())
            assert of_class // count <= inside <= -(-of_class // count)
        assert fold.test is data.test
        seen += rows
    assert sorted(seen) == list(range(len(every)))


def test_a_fold_is_the_same_for_the_same_seed_and_rows_are_read_in_any_order() -> None:
    data = dataset([0, 1] * 20, [1, 0] * 5, parts=(10, 30))
    one, again = (folded(data, Fold(1, 4, 7)) for _ in range(2))
    assert places(one.validation) == places(again.validation)
    assert places(one.validation) != places(folded(data, Fold(1, 4, 8)).validation)
    order = np.array([5, 0, len(one.train.labels) - 1])
    chosen = [int(image[0, 0, 0]) for image in one.train.images[order]]
    assert chosen == [places(one.train)[n] for n in order]
    assert len(one.train.parts) == 3  # the former validation images are one more folder
    assert most_folds(data) == 25
