"""Build a keras.Model from a ModelSpec."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops, regularizers

from models.spec import KERNEL, POOL, Block, ModelSpec, map_sides

WIDTH = 2  # axis of a batch of images


def build(
    spec: ModelSpec,
    input_shape: tuple[int, int, int],
    classes: int,
    precision: str = "float32",
    *,
    fused: bool = False,
    momentum: float = 0.99,
) -> keras.Model:
    """The network that ``spec`` describes, uncompiled, with fresh weights.

    It takes raw images, (n, height, width, channels) with values 0 to 255 of any number type,
    and scales them itself; it returns (n, classes) probabilities. Built of Keras's own layers and
    operations only, so that it can be saved and loaded anywhere, unless it is ``fused``.

    Args:
        spec: The network.
        input_shape: Height, width and channels of an image; height and width are equal.
        classes: Number of classes.
        precision: Of the arithmetic: ``float32``, or ``bfloat16`` for all but the softmax. The
            weights are float32 in either case, and those of one network fit the other.
        fused: Whether to use FusedNormalization, which trains faster. The weights fit, too.
        momentum: Momentum of the statistics of batch normalisation, 0 to 1.

    Raises:
        SpecError: The network does not fit images of this size.
    """
    map_sides(spec, input_shape[0])  # a clear error before Keras raises an unclear one
    dtype = "mixed_bfloat16" if precision == "bfloat16" else precision
    norm = FusedNormalization if fused else layers.BatchNormalization
    normalise = partial(norm, momentum=momentum, dtype=dtype)
    inputs = keras.Input(shape=input_shape, name="image")
    features = _features(spec, dtype, normalise)
    x = _through(features, inputs)
    if spec.mirror:
        mirrored = _through(features, ops.flip(inputs, axis=WIDTH))
        x = layers.Average(dtype=dtype, name="both_sides")([x, mirrored])
    dense = spec.dense
    if dense.units:
        x = layers.Dense(
            dense.units,
            activation="relu",
            kernel_regularizer=_l2(dense.l2),
            dtype=dtype,
            name="dense",
        )(x)
        if dense.batch_norm:
            x = layers.BatchNormalization(momentum=momentum, dtype=dtype, name="norm_dense")(x)
    if dense.dropout:
        x = layers.Dropout(dense.dropout, dtype=dtype, name="dropout_dense")(x)
    outputs = layers.Dense(
        classes,
        activation="softmax",
        kernel_regularizer=None if dense.units else _l2(dense.l2),
        dtype="float32",
        name="class",
    )(x)
    return keras.Model(inputs, outputs)


class FusedNormalization(layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch normalisation of maps whose training step is one TensorFlow operation.

    Keras's layer uses a dozen, each of which passes over the whole map.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise ``inputs``; in training, update the moving statistics."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation returns the unbiased variance, Keras stores the biased one.
        values = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        for moving, now in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (values - 1) / values),
        ):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return y


def _features(
    spec: ModelSpec, dtype: str, normalise: Callable[..., layers.BatchNormalization]
) -> list[layers.Layer]:
    """The layers from raw images to the vector that the last block makes of each, in order."""
    stack = [layers.Rescaling(1 / 255, dtype=dtype, name="scale")]
    if spec.input_side is not None:
        side = spec.input_side
        stack.append(layers.Resizing(side, side, dtype=dtype, name="resize"))
    for number, block in enumerate(spec.blocks, 1):
        pool = layers.MaxPooling2D(POOL, dtype=dtype, name=f"pool_{number}")
        for which in range(block.convolutions):
            # The first keeps the name it has in networks with one convolution per block.
            name = f"{number}b" if which else f"{number}"
            early = pool if block.pool_first and not which else None
            stack += _convolution(block, name, dtype, normalise, early)
        if not block.pool_first:
            stack.append(pool)
        if block.dropout:
            stack.append(layers.Dropout(block.dropout, dtype=dtype, name=f"dropout_{number}"))
    if spec.pooling == "average":
        stack.append(layers.GlobalAveragePooling2D(dtype=dtype, name="average"))
    else:
        stack.append(layers.Flatten(dtype=dtype, name="flatten"))
    return stack


def _convolution(
    block: Block,
    name: str,
    dtype: str,
    normalise: Callable[..., layers.BatchNormalization],
    pool: layers.Layer | None,
) -> list[layers.Layer]:
    """One convolution, and after it ``pool``, normalisation and ReLU, in the block's order."""
    norm_first = block.batch_norm and block.norm_first
    stack = [
        layers.Conv2D(
            block.filters,
            KERNEL,
            padding=block.padding,
            activation=None if norm_first else "relu",
            kernel_regularizer=_l2(block.l2),
            dtype=dtype,
            name=f"conv_{name}",
        )
    ]
    if pool is not None:
        stack.append(pool)
    if block.batch_norm:
        stack.append(normalise(name=f"norm_{name}"))
    if norm_first:
        stack.append(layers.ReLU(dtype=dtype, name=f"relu_{name}"))
    return stack


def _through(sequence: Sequence[layers.Layer], x: keras.KerasTensor) -> keras.KerasTensor:
    return reduce(lambda value, layer: layer(value), sequence, x)


def _l2(strength: float) -> regularizers.Regularizer | None:
    return regularizers.L2(strength) if strength else None
