"""Muon: what a step of it does to each weight of a network."""

from itertools import pairwise

import keras
import numpy as np
import numpy.typing as npt
import pytest

from models.muon import Muon
from models.spec import MUON_TO_ADAM

RATE = 0.05
Weights = dict[str, npt.NDArray[np.float32]]


def trained(optimizer: keras.optimizers.Optimizer, steps: int = 3) -> list[Weights]:
    """The weights at the beginning and after each step; the images are always the same."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="narrow")(image)
    x = keras.layers.Conv2D(24, 1, activation="relu", name="wide")(x)
    x = keras.layers.Dense(8, activation="relu", name="hidden")(keras.layers.Flatten()(x))
    network = keras.Model(image, keras.layers.Dense(3, activation="softmax", name="class")(x))
    network.compile(optimizer, "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(16, 6, 6, 3)), random.integers(0, 3, 16)
    seen = [{v.path: v.numpy().copy() for v in network.weights}]
    for _ in range(steps):
        network.train_on_batch(images, labels)
        seen.append({v.path: v.numpy().copy() for v in network.weights})
    return seen


@pytest.mark.parametrize("kernel", ["narrow/kernel", "wide/kernel", "hidden/kernel"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_changes_the_main_directions_of_a_kernel_by_about_the_rate(
    kernel: str, dtype: str
) -> None:
    for before, after in pairwise(trained(Muon(RATE, dtype=dtype))):
        was, now = (w[kernel].reshape(-1, w[kernel].shape[-1]) for w in (before, after))
        scaled = was * np.sqrt(was.shape[1]) / np.linalg.norm(was)
        changes = np.linalg.svd(now - scaled, compute_uv=False) / RATE
        largest = changes[changes > 0.05]  # the gradient may lack a direction
        assert largest.size >= 2
        assert largest.max() < 1.3
        assert np.median(largest) > 0.6


def test_biases_and_the_softmax_layer_are_trained_by_adam() -> None:
    muon = trained(Muon(RATE), steps=1)[-1]
    adam = trained(keras.optimizers.Adam(RATE / MUON_TO_ADAM), steps=1)[-1]
    for path in ("narrow/bias", "hidden/bias", "class/kernel", "class/bias"):
        np.testing.assert_allclose(muon[path], adam[path], rtol=1e-4, atol=1e-6)
    assert not np.allclose(muon["wide/kernel"], adam["wide/kernel"], atol=1e-3)


def test_weight_decay_has_an_effect_on_the_kernel_of_the_softmax_layer_alone() -> None:
    without, decayed = (trained(Muon(RATE, decay), steps=1)[-1] for decay in (None, 2.0))
    for kernel in ("narrow/kernel", "wide/kernel", "hidden/kernel"):
        np.testing.assert_allclose(decayed[kernel], without[kernel], rtol=1e-4, atol=1e-5)
    before = trained(Muon(RATE), steps=0)[0]["class/kernel"]
    shrunk = without["class/kernel"] - RATE * 2.0 * before
    np.testing.assert_allclose(decayed["class/kernel"], shrunk, rtol=1e-3, atol=1e-5)


def test_the_scale_of_a_kernel_is_that_of_its_filters() -> None:
    for kernel in ("narrow/kernel", "wide/kernel", "hidden/kernel"):
        value = trained(Muon(1e-6), steps=1)[-1][kernel]
        assert np.linalg.norm(value) == pytest.approx(np.sqrt(value.shape[-1]), rel=1e-3)
