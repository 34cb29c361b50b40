"""Convert images in front of a user's network that takes others: grey, of another size, flat."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from models.own_errors import OwnCodeError

Size = Sequence[int | None]

LEAST_SIDE = 8  # pixels; a network for shorter vectors is not one for images


def conversion(
    model: keras.Model, input_shape: tuple[int, int, int]
) -> tuple[list[Callable[[Any], Any]], str]:
    """What turns the images into those that a network takes, in order.

    Only layers and operations of Keras's, without weights.

    Args:
        model: The user's network.
        input_shape: Height, width and channels of the images.

    Returns:
        The layers, none if the images fit; and the size that they make, empty if they do.

    Raises:
        OwnCodeError: It takes no images, or none that these can be turned into.
    """
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) > 1:
        raise OwnCodeError(f"the network takes {len(inputs)} inputs, expected one: the images")
    if not inputs and _takes_vectors(model, input_shape):
        count = math.prod(input_shape)
        return _layers(input_shape, input_shape, (count,)), size((count,))
    for tensor in inputs:
        batch, *shape = tensor.shape
        if batch is not None:
            raise OwnCodeError(
                f"the network takes batches of {batch} only: leave the batch size out of its Input"
            )
        if _fits(shape, input_shape):
            break
        image = _image_of(shape, input_shape)
        if image is None:
            kind, hint = ("images", "") if len(shape) > 1 else ("values", " and Flatten()")
            raise OwnCodeError(
                f"the network takes {size(shape)} {kind}, the images are {size(input_shape)}: use "
                f"input_shape{hint}"
            )
        return _layers(input_shape, image, tuple(shape)), size(shape)
    return [], ""


def size(shape: Size) -> str:
    """A shape as text."""
    return "x".join("?" if each is None else str(each) for each in shape)


def _fits(shape: Size, input_shape: tuple[int, int, int]) -> bool:
    return len(shape) == len(input_shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, input_shape, strict=True)
    )


def _takes_vectors(model: keras.Model, input_shape: tuple[int, int, int]) -> bool:
    """Whether a Sequential without an input is written for flat vectors: of Dense layers, mostly.

    Its layers would treat each pixel as an image.
    """
    if not isinstance(model, keras.Sequential) or model.built:
        return False
    try:
        ranks = [
            len(model.compute_output_shape((None, *shape)))
            for shape in (input_shape, (math.prod(input_shape),))
        ]
    except Exception:  # noqa: BLE001 - a layer does not take such a shape, or has none
        return False
    return ranks == [4, 2]


def _image_of(shape: Size, images: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Height, width and channels of the image that an input of this shape holds, if one does."""
    height, width, channels = images
    match shape:
        case (tall, wide, (None | 1 | 3) as depth):
            return tall or height, wide or width, depth or channels
        case (tall, wide):
            return tall or height, wide or width, 1
        case (int() as count,):
            sides = [(height, width), *((side, side) for side in _sides(count))]
            return next(
                (
                    (*two, depth)
                    for two in sides
                    for depth in (3, 1)
                    if math.prod(two) * depth == count
                ),
                None,
            )
    return None


def _sides(count: int) -> list[int]:
    """The sides of square images, grey or in colour, that may have this number of values."""
    return [side for side in (math.isqrt(count), math.isqrt(count // 3)) if side >= LEAST_SIDE]


def _layers(
    images: tuple[int, int, int], wanted: tuple[int, int, int], shape: tuple[int | None, ...]
) -> list[Callable[[Any], Any]]:
    layers: list[Callable[[Any], Any]] = []
    if wanted[2] == 1 and images[2] == 3:
        layers.append(keras.ops.image.rgb_to_grayscale)
    if wanted[:2] != images[:2]:
        layers.append(keras.layers.Resizing(*wanted[:2], dtype="float32", name="to_its_size"))
    if len(shape) != 3:
        values = wanted[:2] if len(shape) == 2 else (math.prod(wanted),)
        layers.append(keras.layers.Reshape(values, dtype="float32", name="to_its_shape"))
    return layers
