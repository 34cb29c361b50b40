"""ModelSpec -> keras.Model."""

import keras
from keras import layers, regularizers

from models.spec import KERNEL, POOL, ModelSpec, map_sides


def build(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The network that ``spec`` describes, uncompiled, with fresh weights.

    It takes raw images, (n, height, width, channels) with values 0 to 255 of any number type,
    and scales them itself; it returns (n, classes) probabilities. Built of stock Keras layers
    only, so that it can be saved and loaded anywhere.

    Args:
        spec: The network.
        input_shape: Height, width and channels of an image; height and width are equal.
        classes: Number of classes.

    Raises:
        SpecError: The network does not fit images of this size.
    """
    map_sides(spec, input_shape[0])  # a clear refusal, before Keras gives an unclear one
    inputs = keras.Input(shape=input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="scale")(inputs)
    if spec.input_side is not None:
        x = layers.Resizing(spec.input_side, spec.input_side, name="resize")(x)
    for number, block in enumerate(spec.blocks, 1):
        x = layers.Conv2D(
            block.filters,
            KERNEL,
            padding=block.padding,
            activation="relu",
            kernel_regularizer=_l2(block.l2),
            name=f"conv_{number}",
        )(x)
        if block.batch_norm:
            x = layers.BatchNormalization(name=f"norm_{number}")(x)
        x = layers.MaxPooling2D(POOL, name=f"pool_{number}")(x)
        if block.dropout:
            x = layers.Dropout(block.dropout, name=f"dropout_{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(
        spec.dense.units, activation="relu", kernel_regularizer=_l2(spec.dense.l2), name="dense"
    )(x)
    if spec.dense.batch_norm:
        x = layers.BatchNormalization(name="norm_dense")(x)
    if spec.dense.dropout:
        x = layers.Dropout(spec.dense.dropout, name="dropout_dense")(x)
    outputs = layers.Dense(classes, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs)


def _l2(strength: float) -> regularizers.Regularizer | None:
    return regularizers.L2(strength) if strength else None
