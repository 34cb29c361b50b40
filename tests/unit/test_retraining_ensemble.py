"""Greedy ensemble selection: never worse than the best model, repeated, the same every time."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from models.evaluation import OF_PREDICTIONS, accuracy
from search.retraining.ensemble import (
    FLOOR,
    MOST,
    Array,
    Selection,
    cross_entropies,
    predictions_and_losses,
    select,
)

SHARES = st.floats(0.0, 1.0)
# Of the true class, (models, images).
OF_TRUTH = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=SHARES)


def selected(of_truth: Array) -> Selection:
    return select(of_truth, cross_entropies)


def loss(average: Array) -> float:
    return float(-np.log(np.maximum(average, FLOOR)).mean())


def averaged(of_truth: Array, selection: Selection) -> Array:
    counts = np.array(selection.counts)
    average: Array = counts @ of_truth / counts.sum()
    return average


@given(OF_TRUTH)
def test_it_is_never_worse_than_the_best_model(of_truth: Array) -> None:
    selection = selected(of_truth)
    assert selection.loss <= min(loss(row) for row in of_truth)
    assert selection.loss == pytest.approx(loss(averaged(of_truth, selection)), abs=1e-9)


@given(OF_TRUTH)
def test_it_stops_where_no_addition_lowers_the_loss(of_truth: Array) -> None:
    selection = selected(of_truth)
    size = sum(selection.counts)
    total = np.array(selection.counts) @ of_truth
    assert 1 <= size <= MOST
    if size < MOST:
        best = min(loss((total + row) / (size + 1)) for row in of_truth)
        assert best >= selection.loss - 1e-9


@given(OF_TRUTH)
def test_the_same_input_gives_the_same_ensemble_and_stays_as_it_was(of_truth: Array) -> None:
    before = of_truth.copy()
    assert selected(of_truth) == selected(of_truth.copy())
    np.testing.assert_array_equal(of_truth, before)


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_order_of_models_does_not_matter(models: int, images: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    of_truth, order = random.random((models, images)), random.permutation(models)
    one, other = selected(of_truth), selected(of_truth[order])
    assert other == Selection(tuple(one.counts[n] for n in order), one.loss)


@given(OF_TRUTH)
def test_a_copy_of_a_model_adds_nothing(of_truth: Array) -> None:
    twice = selected(np.concatenate([of_truth, of_truth]))
    assert twice.loss == selected(of_truth).loss
    assert set(twice.members) <= set(range(len(of_truth)))  # of equal ones, the first


def test_a_better_model_is_added_again_to_weigh_more() -> None:
    # Images of which one model knows two thirds, the other the rest.
    of_truth = np.array([[0.9, 0.9, 0.1], [0.1, 0.1, 0.9]])
    selection = selected(of_truth)
    assert selection.counts[0] > selection.counts[1] > 0
    shares = np.linspace(0, 1, 1001)
    best = min(loss(share * of_truth[0] + (1 - share) * of_truth[1]) for share in shares)
    assert selection.loss == pytest.approx(best, abs=0.01)


def test_two_halves_are_averaged_equally() -> None:
    selection = selected(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert selection.counts == (1, 1)
    assert selection.loss == pytest.approx(np.log(2))
    assert selection.members == (0, 1)


def test_every_step_adds_what_lowers_the_loss_most() -> None:
    of_truth = np.random.default_rng(3).random((4, 30))
    counts, lowest = np.zeros(4, int), np.inf
    while True:
        tried = [counts + np.eye(4, dtype=int)[n] for n in range(4)]
        losses = [loss(each @ of_truth / each.sum()) for each in tried]
        if min(losses) >= lowest or counts.sum() == MOST:
            break
        counts, lowest = tried[int(np.argmin(losses))], min(losses)
    assert selected(of_truth).counts == tuple(counts)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_a_model_without_usable_probabilities_is_no_member(bad: float) -> None:
    of_truth = np.array([[bad, bad], [0.4, 0.6]])
    for rows in (of_truth, of_truth[::-1]):
        assert selected(rows).members == (int(rows[1, 0] == 0.4),)


def test_without_any_usable_model_nothing_is_added() -> None:
    for shape in product((1, 2), (1, 3)):
        assert selected(np.full(shape, np.nan)) == Selection((0,) * shape[0], np.inf)


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_macro_f1", "val_auc"])
def test_by_a_share_it_is_at_least_as_high_as_of_any_model(monitor: str) -> None:
    share = {**OF_PREDICTIONS, "val_accuracy": accuracy}[monitor]
    random = np.random.default_rng(5)
    labels = np.arange(60, dtype=np.int32) % 3
    chances = random.random((5, 60, 3))
    chances[:4, np.arange(60), labels] += 0.4
    chances[4, 0] = np.nan
    chances /= chances.sum(axis=2, keepdims=True)
    selection = select(*predictions_and_losses(chances, labels, monitor))
    average = np.tensordot(selection.counts, np.nan_to_num(chances), 1) / sum(selection.counts)
    assert share(average, labels) == pytest.approx(1 - selection.loss, abs=1e-4)
    assert share(average, labels) > max(share(each, labels) for each in chances[:4])
    assert selection.counts[4] == 0


def test_of_averages_of_equal_accuracy_the_surer_one_counts() -> None:
    labels = np.array([0, 0, 1, 1], np.int32)
    # Both are right about all images, each less sure about one half.
    sure, less = (0.9, 0.1), (0.6, 0.4)
    first = np.array([sure, less, less[::-1], sure[::-1]])
    second = np.array([less, sure, sure[::-1], less[::-1]])
    both = np.stack([first, second])
    assert select(*predictions_and_losses(both, labels, "val_accuracy")).counts == (1, 1)


def test_by_val_loss_it_sees_the_probability_of_the_truth() -> None:
    random = np.random.default_rng(5)
    labels, chances = np.array([0, 2, 1], np.int32), random.dirichlet(np.ones(3), (4, 3))
    of_truth = np.array([[each[n, label] for n, label in enumerate(labels)] for each in chances])
    assert select(*predictions_and_losses(chances, labels, "val_loss")) == selected(of_truth)
