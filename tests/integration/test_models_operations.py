"""Multiply-adds of networks that were built, against those counted by hand."""

import keras
import pytest
from keras import layers

from models.documented import DOCUMENTED
from models.network import build
from models.operations import multiply_adds
from models.spec import Block, ModelSpec, count_operations


@pytest.mark.parametrize(
    "model",
    [
        DOCUMENTED["run-10"].model,
        ModelSpec(
            blocks=(
                Block(filters=4, convolutions=2, pool_first=True),
                Block(filters=8, convolutions=2, padding="valid"),
            ),
            mirror=True,
        ),
    ],
    ids=["run-10", "pooled first"],
)
def test_a_built_network_takes_what_its_spec_says(model: ModelSpec) -> None:
    counted = multiply_adds(build(model, (32, 32, 3), 10))
    assert counted == count_operations(model, (32, 32, 3), 10)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(6, 3, padding="same", groups=2), 8 * 8 * 9 * 2 * 6),
        (layers.DepthwiseConv2D(3, padding="same"), 8 * 8 * 9 * 4),
        (layers.SeparableConv2D(5, 3, padding="same"), 8 * 8 * (9 * 4 + 4 * 5)),
        (layers.Conv2DTranspose(5, 2, strides=2), 8 * 8 * 2 * 2 * 4 * 5),
        (layers.Dense(7), 8 * 8 * 4 * 7),
        (layers.EinsumDense("abcd,de->abce", output_shape=(8, 8, 7)), 8 * 8 * 4 * 7),
        (layers.BatchNormalization(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_multiply_adds_of_a_layer(layer: keras.Layer, expected: int) -> None:
    image = keras.Input((8, 8, 4))
    assert multiply_adds(keras.Model(image, layer(image))) == expected


def test_the_multiply_adds_of_attention() -> None:
    tokens = keras.Input((16, 12))
    attention = layers.MultiHeadAttention(num_heads=3, key_dim=4)(tokens, tokens)
    products = 2 * 16 * 16 * 12  # of queries with keys, and of scores with values
    assert multiply_adds(keras.Model(tokens, attention)) == 4 * 16 * 12 * 12 + products
