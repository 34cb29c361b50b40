"""The sizes of a space's networks, without Keras: counted, measured or estimated."""

import math
from dataclasses import dataclass

import numpy as np

from models.spec import ModelSpec, SpecError, count_operations, count_parameters
from search.protocol import NetworkSize
from search.spaces.builtin import Space
from search.spaces.hypermodel import OwnNetworks
from search.spaces.unit_cube import Array, Params, UnitCube

LEAST_SPREAD = 0.05  # standard deviation of an estimated logarithm of a size; at least
_UNKNOWN = NetworkSize(0)


@dataclass(frozen=True)
class Estimate:
    """Estimated sizes of networks.

    Attributes:
        logs: (n,) their logarithms.
        deviation: Standard deviation of one; infinite if too few sizes are known to fit any.
        least: The least logarithm of a known size; infinite if none is known.
    """

    logs: Array
    deviation: float
    least: float


class NetworkSizes:
    """The sizes of a space's networks.

    Weights and operations of a built-in space's networks are counted before they are built. Of a
    network of the user's own, every size is known once it is built; of any network, the latency
    once it is measured. Other sizes are estimated from the known ones, by least squares of their
    logarithm: latencies in a built-in space from the logarithms of weights and operations, all else
    from the configuration. An estimate depends on what is known, not on the order in which it was
    learned.

    Args:
        space: The space.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
    """

    def __init__(self, space: Space, input_shape: tuple[int, int, int], classes: int) -> None:
        self._space = space
        self._cube = UnitCube(space.distributions())
        self._images = input_shape, classes
        self._counted: dict[bytes, NetworkSize | None] = {}  # by the steps of their point
        self._built: dict[bytes, tuple[Array, NetworkSize]] = {}  # own networks, by their point
        # Networks that differ in rates and strengths alone are equal. By steps, weights and
        # operations.
        self._latencies: dict[tuple[bytes, int, int], float] = {}

    @property
    def are_counted(self) -> bool:
        """Whether weights and operations are known before a network is built."""
        return not isinstance(self._space, OwnNetworks)

    def learn(self, params: Params, size: NetworkSize) -> NetworkSize:
        """Take note of a network that has been built.

        Args:
            params: Its configuration.
            size: Its size; 0 where it was not counted or measured.

        Returns:
            Its size as far as it is known, with the latency of the first network equal to it.
        """
        point = self._cube.of(params)
        before = self.known(params)
        weights = before.parameters or size.parameters
        operations = before.operations or size.operations
        latency = size.latency or before.latency
        if latency:
            (steps,) = self._keys(point[None])
            latency = self._latencies.setdefault((steps, weights, operations), latency)
        whole = NetworkSize(weights, operations, latency)
        if not self.are_counted:
            self._built[point.tobytes()] = point, whole
        return whole

    def known(self, params: Params) -> NetworkSize:
        """The size of the network of a configuration; 0 where it is not known."""
        (size,) = self._all(self._cube.of(params)[None])
        return size or _UNKNOWN

    def of(self, points: Array, name: str) -> Array:
        """Sizes (n,) of the networks at points (n, parameters); infinite where none is possible.

        Args:
            points: Of the unit cube.
            name: ``parameters``, ``operations`` or ``latency``.
        """
        sizes = np.array(
            [math.inf if size is None else getattr(size, name) for size in self._all(points)],
            dtype=np.float64,
        )
        unknown = sizes == 0
        if unknown.any():
            sizes[unknown] = np.exp(self.estimated(points[unknown], name).logs)
        return sizes

    def estimated(self, points: Array, name: str) -> Estimate:
        """Sizes of networks at points (n, parameters), as if none of them were known.

        Where too few are known, they have the mean of these.
        """
        places, logs = self._examples(name)
        if not len(logs):
            return Estimate(np.zeros(len(points)), math.inf, math.inf)
        least = float(logs.min())
        if len(logs) < places.shape[1] + 2:
            return Estimate(np.full(len(points), logs.mean()), math.inf, least)
        others = self._cube.features(points)
        if self.are_counted:
            others = _logs_of([size for size in self._all(points) if size is not None])
        expected, deviation = _extrapolated(places, logs, others)
        return Estimate(expected, deviation, least)

    def _examples(self, name: str) -> tuple[Array, Array]:
        """Where a size is known: places (n, features), and its logarithm (n,)."""
        if self.are_counted:
            measured = sorted(self._latencies.items())
            counted = [self._counted[steps] for (steps, *_), _ in measured]
            places = _logs_of([size for size in counted if size is not None])
            values = [latency for _, latency in measured]
        else:
            built = [(of[0], getattr(of[1], name)) for _, of in sorted(self._built.items())]
            pairs = [(point, value) for point, value in built if value]
            points = np.array([point for point, _ in pairs]).reshape(-1, len(self._cube))
            places = self._cube.features(points)
            values = [value for _, value in pairs]
        return places, np.log(np.array(values, dtype=np.float64))

    def _all(self, points: Array) -> list[NetworkSize | None]:
        """What is known at points (n, parameters); None where no network is possible."""
        if not self.are_counted:
            return [self._built.get(point.tobytes(), (point, _UNKNOWN))[1] for point in points]
        sizes = []
        for point, key in zip(points, self._keys(points), strict=True):
            if key not in self._counted:
                self._counted[key] = self._count(self._cube.params(point))
            size = self._counted[key]
            if size is not None and self._latencies:
                latency = self._latencies.get((key, size.parameters, size.operations), 0.0)
                size = NetworkSize(size.parameters, size.operations, latency)
            sizes.append(size)
        return sizes

    def _count(self, params: Params) -> NetworkSize | None:
        model, _ = self._space.specs(params)
        assert isinstance(model, ModelSpec)
        try:
            return network_size(model, *self._images)
        except SpecError:
            return None

    def _keys(self, points: Array) -> list[bytes]:
        """One key for all points (n, parameters) that differ in rates and strengths alone.

        These change no size: only numbers with steps and choices do.
        """
        return [place.tobytes() for place in self._cube.steps(points)]


def network_size(model: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> NetworkSize:
    """The size of a network, before it is built.

    Args:
        model: The network.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    Raises:
        SpecError: It does not fit the images.
    """
    return NetworkSize(
        count_parameters(model, input_shape, classes),
        count_operations(model, input_shape, classes),
    )


def _logs_of(sizes: list[NetworkSize]) -> Array:
    """Logarithms of weights and operations, (n, 2)."""
    counts = [(size.parameters, size.operations) for size in sizes]
    return np.log(np.array(counts, dtype=np.float64).reshape(-1, 2))


def _extrapolated(places: Array, values: Array, others: Array) -> tuple[Array, float]:
    """Least squares with a small penalty: values at other places, and the error of one.

    Args:
        places: (n, features) where the values are known.
        values: (n,).
        others: (m, features).

    Returns:
        (m,) values, and their standard deviation, from leaving each known one out.
    """
    middle = places.mean(axis=0)
    rows = places - middle
    gram = rows.T @ rows + 0.01 * np.eye(rows.shape[1])
    slopes = np.linalg.solve(gram, rows.T @ (values - values.mean()))
    leverage = 1 / len(rows) + np.einsum("nf,fn->n", rows, np.linalg.solve(gram, rows.T))
    left_out = (values - values.mean() - rows @ slopes) / np.maximum(1 - leverage, 1e-3)
    spread = max(float(np.sqrt(np.mean(left_out**2))), LEAST_SPREAD)
    return values.mean() + (others - middle) @ slopes, spread
