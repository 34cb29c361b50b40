"""A seeded, stratified split for images without one."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

SHARES: Mapping[str, Fraction] = {
    "train": Fraction(8, 10),
    "validation": Fraction(1, 10),
    "test": Fraction(1, 10),
}


def taking(splits: Sequence[str]) -> dict[str, Fraction]:
    """Shares of all splits if each of ``splits`` gets a tenth of the training images."""
    others = {split: SHARES[split] for split in splits}
    return {"train": Fraction(1) - sum(others.values())} | others


def stratified(
    labels: npt.NDArray[np.int32], seed: int, shares: Mapping[str, Fraction] = SHARES
) -> dict[str, npt.NDArray[np.int64]]:
    """Split the rows of ``labels`` so that each class has its share of each split.

    Args:
        labels: (n,) numbers of classes; each class has at least as many rows as there are splits.
        seed: The same seed gives the same split.
        shares: Share of each class per split; the first split gets the rounding remainder.

    Returns:
        Rows of each split, ascending; every row is in exactly one, every class in each.
    """
    random = np.random.default_rng(seed)
    rows: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in shares}
    first, *others = shares
    for label in np.unique(labels):
        shuffled = random.permutation(np.flatnonzero(labels == label))
        start = 0
        for name in others:
            size = max(1, round(len(shuffled) * shares[name]))
            rows[name].append(shuffled[start : start + size])
            start += size
        rows[first].append(shuffled[start:])
    return {name: np.sort(np.concatenate(chosen)) for name, chosen in rows.items()}
