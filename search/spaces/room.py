"""Which networks fit the images, the user's limits and the machine, without Keras."""

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.spec import ModelSpec, OwnSpec, SpecError, TrainingSpec, estimate_memory
from search.errors import SettingsError
from search.spaces.builtin import Space
from search.spaces.network_sizes import NetworkSizes, network_size
from search.spaces.unit_cube import Array, Params, UnitCube

DRAWN = 20_000  # configurations among which at least one has to fit


@dataclass(frozen=True)
class NetworkLimits:
    """Limits of the networks that are trained; None for no limit.

    Attributes:
        parameters: Most weights.
        operations: Most multiply-adds per image, in a forward pass.
        memory: Bytes that a worker has.
    """

    parameters: int | None = None
    operations: int | None = None
    memory: int | None = None


def check_fits(
    model: ModelSpec | OwnSpec,
    training: TrainingSpec,
    input_shape: tuple[int, int, int],
    classes: int,
    limits: NetworkLimits,
) -> None:
    """Check a network before it is built; what is unknown by then is checked in the worker.

    Args:
        model: The network.
        training: How it is trained.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        limits: The limits.

    Raises:
        SpecError: It does not fit the images, or exceeds a limit.
    """
    if isinstance(model, OwnSpec):
        return
    size = network_size(model, input_shape, classes)
    if excess := size.excess(limits.parameters, limits.operations):
        raise SpecError(excess)
    needed = estimate_memory(model, input_shape, classes, training.batch_size)
    if limits.memory is not None and needed > limits.memory:
        raise SpecError(
            f"needs about {needed / 2**30:.1f} GiB, but a worker has "
            f"{limits.memory / 2**30:.1f} GiB"
        )


class Room:
    """Which configurations of a space fit.

    Networks of a built-in space are counted before they are built. The size of a user's own
    network is estimated from those built so far (``search.spaces.network_sizes``): a configuration
    fits unless the estimate is over the limit by more than its error.

    Attributes:
        limits: The limits.
        sizes: The sizes of the networks.

    Args:
        space: The space.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        limits: The limits.
    """

    def __init__(
        self,
        space: Space,
        input_shape: tuple[int, int, int],
        classes: int,
        limits: NetworkLimits,
    ) -> None:
        self._space = space
        self._images = input_shape, classes
        self.limits = limits
        self.sizes = NetworkSizes(space, input_shape, classes)
        self._cube = UnitCube(space.distributions())
        self._answers: dict[bytes, bool] = {}

    @property
    def is_fixed(self) -> bool:
        """Whether a configuration that fits now always does, in this search."""
        return self.sizes.are_counted

    def fault(self, params: Params) -> str:
        """Why a configuration cannot be trained here; empty if it can, or if that is unknown."""
        if not self.is_fixed:
            limits = self.limits
            return self.sizes.known(params).excess(limits.parameters, limits.operations)
        try:
            check_fits(*self._space.specs(params), *self._images, self.limits)
        except SpecError as error:
            return str(error)
        return ""

    def fits(self, points: Array) -> npt.NDArray[np.bool_]:
        """Whether configurations fit, (n,); their points (n, parameters) are of the unit cube."""
        if not self.is_fixed:
            return self._are_expected_to_fit(points)
        # Rates and strengths change no size: only numbers with steps and choices do.
        places = self._cube.steps(points)
        answers = []
        for place, point in zip(places, points, strict=True):
            key = place.tobytes()
            if key not in self._answers:
                self._answers[key] = not self.fault(self._cube.params(point))
            answers.append(self._answers[key])
        return np.array(answers, dtype=np.bool_)

    def check(self) -> None:
        """Refuse limits that no network of the space keeps.

        Raises:
            SettingsError: The message has the size of the smallest network.
        """
        if not self.is_fixed:
            return
        random = np.random.default_rng(0)
        if self.fits(self._cube.uniform(1, random)).any():
            return
        points = self._cube.uniform(DRAWN, random)
        if self.fits(points).any():
            return
        _, rows = np.unique(self._cube.steps(points), axis=0, return_index=True)
        models = [self._space.specs(self._cube.params(points[row]))[0] for row in rows]
        sizes = []
        for model in models:
            with suppress(SpecError):  # for a network that does not fit the images
                sizes.append(network_size(model, *self._images))
        limits = self.limits
        parameters = min((size.parameters for size in sizes), default=0)
        operations = min((size.operations for size in sizes), default=0)
        if limits.parameters is not None and parameters > limits.parameters:
            raise SettingsError(
                f"--max-params {limits.parameters}: the smallest network of this search has "
                f"{parameters:,} parameters"
            )
        if limits.operations is not None and operations > limits.operations:
            raise SettingsError(
                f"--max-operations {limits.operations}: the smallest network of this search takes "
                f"{operations:,} multiply-adds per image"
            )
        raise SettingsError(
            "no network of this search keeps all limits; the smallest ones have "
            f"{parameters:,} parameters, or take {operations:,} multiply-adds per image: raise "
            "--max-params or --max-operations, or use fewer --workers if memory is short"
        )

    def _are_expected_to_fit(self, points: Array) -> npt.NDArray[np.bool_]:
        fitting = np.ones(len(points), dtype=np.bool_)
        for name, most in (
            ("parameters", self.limits.parameters),
            ("operations", self.limits.operations),
        ):
            if most is not None:
                expected = self.sizes.estimated(points, name)
                # Where all were too large: those that are expected to be smaller.
                fitting &= expected.logs - expected.deviation <= max(math.log(most), expected.least)
        return fitting
