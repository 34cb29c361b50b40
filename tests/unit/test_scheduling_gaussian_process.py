"""The model of losses: its gradient, what it knows, what it learns of epochs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    Kernel,
    Matern,
    WhiteKernel,
)

from search.scheduling.gaussian_process import BELIEVED, CurveProcess, Points

SEEDS = st.integers(0, 2**32 - 1)


def points(count: int, features: int, random: np.random.Generator) -> Points:
    return Points(
        random.random((count, features)),
        np.round(random.random(count), 1),
        random.integers(-1, count // 2, count),
    )


@given(seed=SEEDS)
@settings(max_examples=25)
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
@settings(max_examples=25)
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
    known = Points(features, np.ones(30), np.arange(30))
    losses = np.sin(4 * features[:, 0])
    model = CurveProcess(2)
    model.fit(known, losses)
    model.condition(known, losses)
    mean, deviation = model.predict(known)
    np.testing.assert_allclose(mean, losses, atol=0.15)
    elsewhere = Points(features + 3.0, np.ones(30), np.full(30, -1))
    assert deviation.max() < model.predict(elsewhere)[1].min()


def test_what_short_trainings_say_of_long_ones_is_learned() -> None:
    """Where early losses tell the opposite of late ones, the model does not follow them."""
    random = np.random.default_rng(2)
    features = random.random((24, 1))
    level = features[:, 0] - 0.5
    early = Points(features, np.zeros(24), np.arange(24))
    late = slice(0, 12)
    full = Points(features[late], np.ones(12), np.arange(12))
    model = CurveProcess(1)
    losses = np.concatenate([-level, 2 * level[late]])
    model.fit(early + full, losses)
    model.condition(early + full, losses)
    wanted = Points(features[12:], np.ones(12), np.arange(12, 24))
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


def test_of_very_many_running_trainings_the_last_are_believed() -> None:
    random = np.random.default_rng(3)
    known, ahead, wanted = points(12, 2, random), points(300, 2, random), points(20, 2, random)
    losses = random.standard_normal(12)
    predicted = []
    for running in (ahead, ahead.last(BELIEVED)):
        model = CurveProcess(2)
        model.condition(known, losses)
        model.believe(running)
        predicted.append(model.predict(wanted))
    np.testing.assert_array_equal(predicted[0], predicted[1])


def test_scales_go_into_another_model_and_those_of_another_space_do_not() -> None:
    first = CurveProcess(3)
    first.scales[:] += 1.0
    np.testing.assert_array_equal(CurveProcess(3, list(first.scales)).scales, first.scales)
    np.testing.assert_array_equal(
        CurveProcess(4, list(first.scales)).scales, CurveProcess(4).scales
    )


def test_a_hopeless_covariance_is_improbable_not_an_error() -> None:
    model = CurveProcess(1)
    where = Points(np.zeros((3, 1)), np.zeros(3), np.zeros(3, dtype=np.int64))
    scales = model.scales.copy()
    scales[-1] = -800.0  # no noise at all: three equal rows
    value, gradient = model._improbability(scales, where, np.array([0.0, 1.0, 2.0]))
    assert value == pytest.approx(1e10)
    assert not gradient.any()


class Peer:
    """The same model, made of scikit-learn's kernels.

    Their input has the columns of the features, then progress and owner. A kernel ignores a column
    whose length scale is infinite.
    """

    def __init__(self, features: int, scales: np.ndarray, forgetting: float) -> None:
        lengths = np.exp(scales[: features + 1])
        a, c, b, self.noise = np.exp(scales[features + 1 :])

        def along(length: float, column: int) -> RBF:
            return RBF(np.where(np.arange(features + 2) == column, length, np.inf))

        last, owner = features, features + 1
        matern = Matern([*lengths[:-1], np.inf, np.inf], nu=2.5)
        surface = (ConstantKernel(a) * matern + ConstantKernel(c)) * along(lengths[-1], last)
        same = along(1e-3, owner)  # 1 for equal numbers, and exp(-500000) = 0 for others
        own = ConstantKernel(b) * same * along(lengths[-1] / np.sqrt(forgetting), last)
        self.kernel = surface + own
        # Positions in ``theta`` of what our scales are; l is there twice.
        t = features + 2  # length scales of a kernel
        a_, m, c_, l_ = 0, 1, 1 + t, 2 + t + last
        b_ = 2 + 2 * t
        l_own, s_ = b_ + 1 + t + last, b_ + 1 + 2 * t
        self.places = [*((m + n,) for n in range(features)), (l_, l_own)]
        self.places += [(a_,), (c_,), (b_,), (s_,)]


def columns(at: Points) -> np.ndarray:
    return np.column_stack([at.features, at.progress, at.owner])


def regressor(kernel: Kernel, noise: float) -> GaussianProcessRegressor:
    return GaussianProcessRegressor(kernel, alpha=noise, optimizer=None, normalize_y=False)


@st.composite
def models(draw: st.DrawFn) -> tuple[CurveProcess, Points, Points, np.ndarray]:
    """A model with its scales, observations, points to predict, and losses."""
    features, known, wanted = (
        draw(st.integers(low, high)) for low, high in ((0, 4), (1, 14), (1, 8))
    )
    random = np.random.default_rng(draw(SEEDS))
    model = CurveProcess(features)
    model.scales += 0.7 * random.standard_normal(features + 5)
    model.scales[-1] = np.log(draw(st.floats(1e-3, 1.0)))
    model.forgetting = draw(st.floats(1.0, 100.0))
    at, ahead = points(known, features, random), points(wanted, features, random)
    return model, at, ahead, random.standard_normal(known)


@given(case=models())
@settings(max_examples=60)
def test_it_predicts_what_scikit_learn_predicts(
    case: tuple[CurveProcess, Points, Points, np.ndarray],
) -> None:
    model, at, ahead, losses = case
    peer = Peer(at.features.shape[1], model.scales, model.forgetting)
    model.condition(at, losses)
    mean, deviation = model.predict(ahead)
    theirs = regressor(peer.kernel, peer.noise).fit(columns(at), losses)
    wanted_mean, wanted_deviation = theirs.predict(columns(ahead), return_std=True)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(model.mean(ahead), mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(deviation, wanted_deviation, rtol=1e-8, atol=1e-8)


@given(case=models())
@settings(max_examples=60)
def test_its_likelihood_and_gradient_are_those_of_scikit_learn(
    case: tuple[CurveProcess, Points, Points, np.ndarray],
) -> None:
    model, at, _, losses = case
    peer = Peer(at.features.shape[1], model.scales, model.forgetting)
    value, gradient = model._improbability(model.scales, at, losses)
    off = (model.scales - model._centre) / model._spread  # the part of the scales' own prior
    kernel = peer.kernel + WhiteKernel(peer.noise)
    theirs = regressor(kernel, 0.0).fit(columns(at), losses)
    likelihood, slopes = theirs.log_marginal_likelihood(kernel.theta, eval_gradient=True)
    ours = -(value - 0.5 * off @ off) - 0.5 * len(losses) * np.log(2 * np.pi)
    np.testing.assert_allclose(ours, likelihood, rtol=1e-9, atol=1e-9)
    wanted = [sum(slopes[place] for place in places) for places in peer.places]
    np.testing.assert_allclose(-(gradient - off / model._spread), wanted, rtol=1e-7, atol=1e-7)


@given(case=models(), missing=st.integers(1, 3))
@settings(max_examples=25)
def test_features_that_all_lack_change_nothing(
    case: tuple[CurveProcess, Points, Points, np.ndarray], missing: int
) -> None:
    """A parameter that no configuration has is 0.5 everywhere, whatever its length scale."""
    model, at, ahead, losses = case
    features = at.features.shape[1]
    scales = np.insert(model.scales, features, np.log(np.linspace(0.1, 2.0, missing)))
    wider = CurveProcess(features + missing, list(scales))
    wider.forgetting = model.forgetting

    def widened(narrow: Points) -> Points:
        rest = np.full((len(narrow.progress), missing), 0.5)
        both = np.hstack([narrow.features, rest])
        return Points(both, narrow.progress, narrow.owner)

    model.condition(at, losses)
    wider.condition(widened(at), losses)
    for ours, wanted in zip(wider.predict(widened(ahead)), model.predict(ahead), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-7)


@given(case=models())
@settings(max_examples=25)
def test_what_is_left_out_is_forecast_from_the_others_alone(
    case: tuple[CurveProcess, Points, Points, np.ndarray],
) -> None:
    model, at, _, losses = case
    found = model.left_out(at, losses)
    for owner in np.unique(at.owner):
        mine, others = (chosen(at, rows) for rows in (at.owner == owner, at.owner != owner))
        if not len(others.owner):
            np.testing.assert_allclose(found, 0.0, atol=1e-8)
            continue
        model.condition(others, losses[at.owner != owner])
        np.testing.assert_allclose(found[at.owner == owner], model.mean(mine), atol=1e-6)


def chosen(at: Points, rows: np.ndarray) -> Points:
    """Some of the points."""
    return Points(at.features[rows], at.progress[rows], at.owner[rows])
