"""Whether a network fits the images and the machine, without Keras."""

from models.spec import (
    ModelSpec,
    OwnSpec,
    SpecError,
    TrainingSpec,
    count_parameters,
    estimate_memory,
)


def check_fits(
    model: ModelSpec | OwnSpec,
    training: TrainingSpec,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    max_parameters: int | None = None,
    memory: int | None = None,
) -> None:
    """Check a network before it is built; what is unknown by then is checked in the worker.

    Args:
        model: The network.
        training: How it is trained.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        max_parameters: The most weights it may have; None for no limit.
        memory: Bytes that a worker has; None for no limit.

    Raises:
        SpecError: It does not fit the images, or exceeds a limit.
    """
    parameters = count_parameters(model, input_shape, classes)
    needed = estimate_memory(model, input_shape, classes, training.batch_size)
    if max_parameters is not None and parameters > max_parameters:
        raise SpecError(f"{parameters:,} parameters, more than {max_parameters:,}")
    if memory is not None and needed > memory:
        raise SpecError(
            f"needs about {needed / 2**30:.1f} GiB, but a worker has {memory / 2**30:.1f} GiB"
        )
