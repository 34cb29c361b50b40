"""Networks: what Keras makes of a spec."""

from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from models.documented import DOCUMENTED
from models.network import FusedNormalization, build
from models.spec import Block, Dense, ModelSpec, SpecError, count_parameters
from tests.support.specs import models


@pytest.mark.parametrize(
    ("name", "parameters"), [("run-1", 508_618), ("run-4", 1_150_410), ("run-10", 922_314)]
)
def test_documented_networks_have_their_parameters(name: str, parameters: int) -> None:
    assert build(DOCUMENTED[name].model, (32, 32, 3), 10).count_params() == parameters


@settings(max_examples=15, suppress_health_check=[HealthCheck.filter_too_much])
@given(models)
def test_the_count_without_keras_is_the_count_of_keras(spec: ModelSpec) -> None:
    try:
        expected = count_parameters(spec, (32, 32, 3), 4)
    except SpecError:
        with pytest.raises(SpecError):
            build(spec, (32, 32, 3), 4)
    else:
        assume(expected < 2_000_000)  # a spec may well ask for more than the machine has
        assert build(spec, (32, 32, 3), 4).count_params() == expected


def test_two_convolutions_normalised_before_their_relus_and_no_dense_layer() -> None:
    spec = ModelSpec(
        blocks=(Block(filters=4, convolutions=2, norm_first=True, dropout=0.1),),
        pooling="average",
        dense=Dense(units=0, dropout=0.2, l2=0.01),
    )
    network = build(spec, (8, 8, 3), 3)
    layers = [type(layer).__name__ for layer in network.layers]
    convolution = ["Conv2D", "BatchNormalization", "ReLU"]
    block = [*convolution * 2, "MaxPooling2D", "Dropout"]
    head = ["GlobalAveragePooling2D", "Dropout", "Dense"]
    assert layers == ["InputLayer", "Rescaling", *block, *head]
    assert len(network.losses) == 1  # the dense layer's strength, on the softmax layer


@pytest.mark.parametrize("pooling", ["flatten", "average"])
def test_a_mirroring_network_cannot_tell_left_from_right(
    pooling: Literal["flatten", "average"], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    blocks = (Block(filters=4, convolutions=2, pool_first=True), Block(filters=8, dropout=0.1))
    spec = ModelSpec(blocks=blocks, pooling=pooling, dense=Dense(units=8), mirror=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    network = build(spec, (8, 8, 3), 3)
    answers = network.predict(images, verbose=0)
    np.testing.assert_allclose(network.predict(images[:, :, ::-1], verbose=0), answers, atol=1e-6)
    other = build(spec.model_copy(update={"mirror": False}), (8, 8, 3), 3)
    other.set_weights(network.get_weights())
    assert np.abs(other.predict(images, verbose=0) - answers).max() > 1e-3
    network.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), answers, atol=1e-6)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_bfloat16_network_has_float32_weights_and_almost_the_same_answers(
    norm_first: bool,
) -> None:
    spec = ModelSpec(
        blocks=(Block(filters=8, convolutions=2, norm_first=norm_first),), dense=Dense(units=16)
    )
    half, full = (build(spec, (8, 8, 3), 3, precision) for precision in ("bfloat16", "float32"))
    assert {weight.dtype for weight in half.weights} == {"float32"}
    assert half.get_layer("conv_1b").compute_dtype == "bfloat16"
    full.set_weights(half.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    one, other = (keras.ops.convert_to_numpy(network(images)) for network in (half, full))
    assert one.dtype == np.float32
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=0.02)


def test_a_fused_network_trains_as_one_of_stock_layers() -> None:
    keras.utils.set_random_seed(0)  # of the first weights: with some, ReLU parts the two
    spec = ModelSpec(
        blocks=(Block(filters=4, convolutions=2), Block(filters=8, norm_first=True)),
        dense=Dense(units=8),
    )
    fused, stock = (build(spec, (8, 8, 3), 3, fused=choice) for choice in (True, False))
    assert any(isinstance(layer, FusedNormalization) for layer in fused.layers)
    stock.set_weights(fused.get_weights())
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
    labels = random.integers(0, 3, 32)
    for network in (fused, stock):
        network.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        network.fit(images, labels, epochs=3, batch_size=16, shuffle=False, verbose=0)
    for one, other in zip(fused.weights, stock.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-3, atol=1e-4)
    answer, expected = (keras.ops.convert_to_numpy(network(images)) for network in (fused, stock))
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def test_run_10_is_built_layer_by_layer_as_the_documents_have_it() -> None:
    layers = [
        type(layer).__name__ for layer in build(DOCUMENTED["run-10"].model, (32, 32, 3), 10).layers
    ]
    block = ["Conv2D", "BatchNormalization", "MaxPooling2D", "Dropout"]
    head = ["Flatten", "Dense", "BatchNormalization", "Dropout", "Dense"]
    assert layers == ["InputLayer", "Rescaling", *block * 4, *head]


def test_the_first_documented_run_has_no_regularisation() -> None:
    network = build(DOCUMENTED["run-1"].model, (32, 32, 3), 10)
    kinds = {type(layer).__name__ for layer in network.layers}
    assert kinds.isdisjoint({"Dropout", "BatchNormalization"})
    assert network.losses == []


def test_a_network_takes_raw_images_and_gives_probabilities() -> None:
    network = build(ModelSpec(blocks=(Block(filters=4),)), (8, 8, 3), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    probabilities = keras.ops.convert_to_numpy(network(images))
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
