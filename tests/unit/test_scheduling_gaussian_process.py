"""The model of losses: its gradient, what it knows, what it learns of epochs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from search.scheduling.gaussian_process import CurveProcess, Points

SEEDS = st.integers(0, 2**32 - 1)


def points(count: int, features: int, random: np.random.Generator) -> Points:
    return Points(
        random.random((count, features)),
        np.round(random.random(count), 1),
        random.integers(-1, count // 2, count),
        random.standard_normal(count),
    )


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_gradient_is_that_of_the_value(seed: int) -> None:
    random = np.random.default_rng(seed)
    where, losses = points(12, 3, random), random.standard_normal(12)
    model = CurveProcess(3)
    model.forgetting = 4.0
    scales = model.scales + 0.5 * random.standard_normal(len(model.scales))
    off = check_grad(
        lambda s: model._improbability(s, where, losses)[0],
        lambda s: model._improbability(s, where, losses)[1],
        scales,
    )
    size = float(np.linalg.norm(model._improbability(scales, where, losses)[1]))
    assert off < 1e-4 * max(1.0, size)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_fitting_makes_the_losses_more_probable(seed: int) -> None:
    random = np.random.default_rng(seed)
    where = points(20, 2, random)
    losses = np.sin(5 * where.features[:, 0]) - where.progress
    model = CurveProcess(2)
    before, _ = model._improbability(model.scales, where, losses)
    model.fit(where, losses)
    after, _ = model._improbability(model.scales, where, losses)
    assert after <= before


def test_it_knows_what_it_was_told_and_doubts_what_is_far() -> None:
    random = np.random.default_rng(1)
    features = random.random((30, 2))
    known = Points(features, np.ones(30), np.arange(30), np.zeros(30))
    losses = np.sin(4 * features[:, 0])
    model = CurveProcess(2)
    model.fit(known, losses)
    model.condition(known, losses)
    mean, deviation = model.predict(known)
    np.testing.assert_allclose(mean, losses, atol=0.15)
    elsewhere = Points(features + 3.0, np.ones(30), np.full(30, -1), np.zeros(30))
    assert deviation.max() < model.predict(elsewhere)[1].min()


def test_what_short_trainings_say_of_long_ones_is_learned() -> None:
    """Where early losses tell the opposite of late ones, the model does not follow them."""
    random = np.random.default_rng(2)
    features = random.random((24, 1))
    level = features[:, 0] - 0.5
    early = Points(features, np.zeros(24), np.arange(24), np.zeros(24))
    late = slice(0, 12)
    full = Points(features[late], np.ones(12), np.arange(12), np.zeros(12))
    model = CurveProcess(1)
    losses = np.concatenate([-level, 2 * level[late]])
    model.fit(early + full, losses)
    model.condition(early + full, losses)
    wanted = Points(features[12:], np.ones(12), np.arange(12, 24), np.zeros(12))
    mean, _ = model.predict(wanted)
    assert np.corrcoef(mean, level[12:])[0, 1] > 0.9


def test_believing_its_own_forecast_changes_the_doubt_and_not_the_mean() -> None:
    random = np.random.default_rng(3)
    known, ahead = points(15, 2, random), points(4, 2, random)
    losses = random.standard_normal(15)
    model = CurveProcess(2)
    model.condition(known, losses)
    wanted = points(20, 2, random)
    mean, deviation = model.predict(wanted)
    model.believe(ahead)
    again, less = model.predict(wanted)
    np.testing.assert_allclose(again, mean, atol=1e-6)
    assert (less <= deviation + 1e-9).all()
    assert less.sum() < deviation.sum()


def test_scales_go_into_another_model_and_those_of_another_space_do_not() -> None:
    first = CurveProcess(3)
    first.scales[:] += 1.0
    np.testing.assert_array_equal(CurveProcess(3, list(first.scales)).scales, first.scales)
    np.testing.assert_array_equal(
        CurveProcess(4, list(first.scales)).scales, CurveProcess(4).scales
    )


def test_a_hopeless_covariance_is_improbable_not_an_error() -> None:
    model = CurveProcess(1)
    where = Points(np.zeros((3, 1)), np.zeros(3), np.zeros(3, dtype=np.int64), np.zeros(3))
    scales = model.scales.copy()
    scales[-1] = -800.0  # no noise at all: three equal rows
    value, gradient = model._improbability(scales, where, np.array([0.0, 1.0, 2.0]))
    assert value == pytest.approx(1e10)
    assert not gradient.any()
