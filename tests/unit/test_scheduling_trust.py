"""How far recorded curves are trusted, by what a study has measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.scheduling.trust import Measured, agreement, trust

COUNT = 30  # configurations


def measured(seed: int, count: int = COUNT) -> Measured:
    """Losses of configurations after epoch 2, and of every third one after epoch 7."""
    random = np.random.default_rng(seed)
    first = random.standard_normal(count)
    third = np.arange(0, count, 3)
    return Measured(
        losses=np.concatenate([first, first[third] - 1]),
        epochs=np.array([2] * count + [7] * len(third)),
        owners=np.concatenate([np.arange(count), third]),
        full=20,
    )


def judged(*forecasts: np.ndarray, own: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """The weights of sources with these forecasts."""
    known = measured(seed)
    equal = np.full(len(forecasts), 1 / len(forecasts))
    nothing = np.zeros(len(known.losses))
    random = np.random.default_rng(seed)
    given = nothing if own is None else own
    columns = np.column_stack(forecasts)
    return trust(given, columns, columns, known, equal, random)


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.sampled_from([2, 7]), st.integers(0, 5)), max_size=20)
)
def test_only_losses_after_the_same_epoch_are_compared_and_one_is_low(
    rows: list[tuple[float, int, int]],
) -> None:
    losses = np.array([loss for loss, _, _ in rows], dtype=np.float64)
    epochs, owners = (np.array([row[n] for row in rows], dtype=np.int64) for n in (1, 2))
    lower, higher = Measured(losses, epochs, owners, 20).pairs()
    assert np.all(losses[lower] < losses[higher])
    assert np.all(epochs[lower] == epochs[higher])
    for row in lower:
        assert losses[row] <= np.median(losses[epochs == epochs[row]])
    # None is missing: the lowest after an epoch is compared with every higher one.
    for epoch in set(epochs.tolist()):
        there = np.flatnonzero(epochs == epoch)
        least = losses[there].min()
        first = there[losses[there] == least][0]
        assert (lower == first).sum() == (losses[there] > least).sum()


def test_a_source_that_ranks_as_measured_is_trusted() -> None:
    assert judged(measured(0).losses) == pytest.approx([1.0])


@pytest.mark.parametrize("seed", range(5))
def test_a_source_that_ranks_the_other_way_round_or_at_random_is_not(seed: int) -> None:
    assert judged(-measured(seed).losses, seed=seed) == pytest.approx([0.0])
    noise = np.random.default_rng(seed + 9).standard_normal(len(measured(seed).losses))
    # The study's own model knows what this source does not.
    own = measured(seed).losses + 0.2 * noise
    assert judged(noise, own=own, seed=seed)[0] < 0.05


def test_the_better_source_is_trusted_more_and_equal_ones_as_before() -> None:
    losses = measured(1).losses
    random = np.random.default_rng(99)
    blurred = losses + random.standard_normal(len(losses))
    good, bad = judged(losses, blurred, seed=1)
    assert good > 0.95
    assert bad < 0.05
    known = measured(1)
    before = np.array([0.75, 0.25])
    both = np.column_stack([losses, losses])
    weights = trust(losses, both, both, known, before, random)
    assert weights == pytest.approx(before)


def test_before_anything_can_be_compared_the_first_weights_stay() -> None:
    before = np.array([0.6, 0.4])
    for count in (0, 1):
        known = Measured(np.ones(count), np.full(count, 2), np.arange(count), 20)
        forecasts = np.ones((count, 2))
        random = np.random.default_rng(0)
        weights = trust(np.ones(count), forecasts, forecasts, known, before, random)
        assert weights == pytest.approx(before)


def test_forecasts_that_are_about_equal_rank_nothing() -> None:
    nearly = 1e-3 * measured(0).losses
    assert judged(nearly)[0] == pytest.approx(1.0)  # not wrong so far
    assert judged(nearly, own=measured(0).losses)[0] < 0.05


def test_of_many_sources_that_know_nothing_none_is_trusted_for_being_the_best_of_them() -> None:
    totals = []
    for seed in range(10):
        random = np.random.default_rng(seed + 50)
        noise = random.standard_normal((10, len(measured(seed).losses)))
        own = measured(seed).losses + 2 * random.standard_normal(noise.shape[1])
        totals.append(judged(*noise, own=own, seed=seed).sum())
    assert np.mean(totals) < 0.3
    good = measured(0).losses + 0.3 * np.random.default_rng(99).standard_normal(40)
    assert judged(good, *np.random.default_rng(98).standard_normal((9, 40)))[0] > 0.8


@given(st.integers(0, 100))
def test_agreement_is_one_for_the_same_order_and_none_for_chance_or_worse(seed: int) -> None:
    losses = np.random.default_rng(seed).permutation(12).astype(np.float64)
    forecasts = np.column_stack([losses, -losses, np.zeros(12)])
    assert agreement(forecasts, losses) == pytest.approx([1.0, 0.0, 0.0])
    assert agreement(forecasts[:1], losses[:1]) == pytest.approx([0.0, 0.0, 0.0])


def test_a_short_training_that_is_ahead_of_a_whole_one_counts_against_who_favoured_the_latter() -> (
    None
):
    # Two were trained in full, one of them with little success; three others only to epoch 2.
    known = Measured(
        losses=np.array([1.0, 2.0, 1.5, 1.6, 2.5]),
        epochs=np.array([20, 20, 2, 2, 2]),
        owners=np.arange(5),
        full=20,
    )
    lower, higher = known.ahead()
    assert [*zip(lower.tolist(), higher.tolist(), strict=True)] == [(2, 1), (3, 1)]
    nothing = np.zeros((5, 1))
    final = np.array([[-2.0], [-2.0], [0.0], [0.0], [0.0]])
    before, random = np.ones(1), np.random.default_rng(0)
    assert trust(np.zeros(5), nothing, nothing, known, before, random)[0] == pytest.approx(1.0)
    assert trust(np.zeros(5), nothing, final, known, before, random)[0] < 0.5
