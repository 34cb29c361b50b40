"""A weighted average of trained networks as one plain Keras model."""

from collections.abc import Sequence

import keras


def combine(members: Sequence[keras.Model], counts: Sequence[int]) -> keras.Model:
    """A model whose probabilities are the weighted average of those of its members.

    It consists of the members, which see the same raw images and prepare them as they did alone,
    and of stock layers in float32. So it can be saved and loaded anywhere that its members can. It
    takes the members over: they get names of their own within it.

    Args:
        members: Networks from raw images, (n, height, width, channels) with values 0 to 255, to
            (n, classes) probabilities; all of the same shapes.
        counts: How often each counts, at least once; its weight is its share of all.

    Raises:
        ValueError: There is no member, a count is below one, or the shapes differ.
    """
    if not members or len(members) != len(counts) or min(counts) < 1:
        raise ValueError("an ensemble has at least one member, each with a count of at least 1")
    shapes = {(member.input_shape, member.output_shape) for member in members}
    if len(shapes) > 1:
        raise ValueError(
            f"members of an ensemble have the same shapes, not {sorted(shapes, key=str)}"
        )
    inputs = keras.Input(shape=members[0].input_shape[1:], name="image")
    weighted = []
    for number, (member, count) in enumerate(zip(members, counts, strict=True), 1):
        # Networks built alike have equal names, which a model's layers must not have.
        member.name = f"member_{number}"
        share = keras.layers.Rescaling(
            count / sum(counts), dtype="float32", name=f"weighted_{number}"
        )
        weighted.append(share(member(inputs)))
    outputs = weighted[0]
    if len(weighted) > 1:
        outputs = keras.layers.Add(dtype="float32", name="average")(weighted)
    model = keras.Model(inputs, outputs, name="ensemble")
    # As after a training: for evaluate(), with an optimiser that has no state to save.
    model.compile(
        "sgd",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        auto_scale_loss=False,
    )
    return model
