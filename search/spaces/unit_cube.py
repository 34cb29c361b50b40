"""Maps configurations to points of the unit cube, for models of the losses.

A configuration is a point with one coordinate per parameter, and a row of features: the same
coordinates, except that an unordered parameter has one feature per choice.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = npt.NDArray[np.float64]
Params = Mapping[str, Any]
Fits = Callable[[Array], npt.NDArray[np.bool_]]
"""Whether the configurations of points (n, parameters) fit, (n,)."""

ROUNDS = 100  # times that points are drawn until as many fit as are wanted


class UnitCube:
    """Maps between the parameters of a space and the unit cube.

    Args:
        distributions: The parameters with their ranges.
        fits: Which configurations may be drawn; all by default.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], fits: Fits | None = None
    ) -> None:
        self._axes = [_axis(name, d) for name, d in distributions.items()]
        self._fits = fits

    def __len__(self) -> int:
        return len(self._axes)

    @property
    def feature_count(self) -> int:
        """Number of features of a point: the columns of ``features``."""
        return sum(axis.features for axis in self._axes)

    def of(self, params: Params) -> Array:
        """The point of a configuration, (parameters,); 0.5 for a parameter it lacks."""
        return np.array(
            [axis.place(params[axis.name]) if axis.name in params else 0.5 for axis in self._axes]
        )

    def holds(self, params: Params) -> bool:
        """Whether ``of`` knows every value of the parameters that a configuration has here."""
        return all(axis.holds(params[axis.name]) for axis in self._axes if axis.name in params)

    def params(self, point: Array) -> dict[str, Any]:
        """The configuration at a point (parameters,) of the unit cube."""
        return {axis.name: axis.value(float(u)) for axis, u in zip(self._axes, point, strict=True)}

    def features(self, points: Array) -> Array:
        """Features of points: (n, parameters) to (n, features), with even steps and choices."""
        return np.hstack([axis.encode(points[:, n]) for n, axis in enumerate(self._axes)])

    def steps(self, points: Array) -> npt.NDArray[np.int64]:
        """Number of the step or choice of each coordinate (n, parameters); 0 if continuous."""
        levels = [axis.level(points[:, n]) for n, axis in enumerate(self._axes)]
        return np.stack(levels, axis=1)

    def moved(self, points: Array, other: "UnitCube") -> Array:
        """The same points in a space with some of the parameters, in other ranges.

        Configurations outside its ranges move to the ends.

        Args:
            points: (n, parameters) of this space.
            other: The other space; each parameter is ``shared``.

        Returns:
            (n, parameters) in the order of the other one.
        """
        mine = {axis.name: (axis, points[:, n]) for n, axis in enumerate(self._axes)}
        coordinates = []
        for there in other._axes:  # noqa: SLF001 - it is of this class
            here, u = mine[there.name]
            coordinates.append(here.moved(u, there))
        return np.stack(coordinates, axis=1)

    def uniform(self, count: int, random: np.random.Generator) -> Array:
        """Uniformly random points of the cube, (count, parameters), that fit.

        Fewer if in ROUNDS times as many points not enough do.
        """
        return self._fitting(count, lambda: random.random((count, len(self))))

    def near(
        self, point: Array, count: int, random: np.random.Generator, step: float = 0.1
    ) -> Array:
        """Random points near ``point``, (count, parameters): about half of its coordinates move.

        A number moves by a ``step`` of its range (standard deviation); a choice is drawn again. All
        fit; there may be fewer, as of ``uniform``.
        """
        return self._fitting(count, lambda: self._moved_by_chance(point, count, random, step))

    def at_ends(self, point: Array) -> Array:
        """The points that differ from ``point`` by one number at an end of its range; that fit.

        (n, parameters), two for each number at most.
        """
        numbers = [n for n, axis in enumerate(self._axes) if isinstance(axis, _Number)]
        points = np.tile(point, (2 * len(numbers), 1))
        for row, number in enumerate(numbers):
            points[2 * row : 2 * row + 2, number] = 0, 1
        return points if self._fits is None else points[self._fits(points)]

    def _fitting(self, count: int, draw: Callable[[], Array]) -> Array:
        """The first ``count`` points that fit, of ``draw`` called as often as it takes."""
        points = draw()
        if self._fits is None:
            return points
        fitting = points[self._fits(points)]
        for _ in range(1, ROUNDS):
            if len(fitting) >= count:
                break
            points = draw()
            fitting = np.vstack([fitting, points[self._fits(points)]])
        return fitting[:count]

    def _moved_by_chance(
        self, point: Array, count: int, random: np.random.Generator, step: float
    ) -> Array:
        moved = random.random((count, len(self))) < 0.5
        near = np.clip(point + step * random.standard_normal((count, len(self))), 0.0, 1.0)
        anew = random.random((count, len(self)))
        choices = np.array([axis.features > 1 or axis.levels == 2 for axis in self._axes])
        return np.where(moved, np.where(choices, anew, near), point)


class _Axis:
    """One parameter: evenly spaced levels, or a continuous range where ``levels`` is 0."""

    features = 1

    def __init__(self, name: str, levels: int) -> None:
        self.name = name
        self.levels = levels

    def holds(self, value: Any) -> bool:
        """Whether ``place`` knows a value; outside a range it takes the end."""
        raise NotImplementedError

    def place(self, value: Any) -> float:
        """Coordinate of a value: the middle of its level."""
        raise NotImplementedError

    def value(self, u: float) -> Any:
        """The value at a coordinate."""
        raise NotImplementedError

    def moved(self, u: Array, other: Any) -> Array:
        """Coordinates (n,) of the same values on an axis of the same kind."""
        raise NotImplementedError

    def encode(self, u: Array) -> Array:
        """Features of coordinates, (n,) to (n, features)."""
        if self.levels:
            u = (self.level(u) + 0.5) / self.levels
        return u[:, None]

    def level(self, u: Array) -> npt.NDArray[np.int64]:
        """Number of the level or step of coordinates (n,); 0 if they are continuous."""
        return np.minimum((u * self.levels).astype(np.int64), max(self.levels - 1, 0))


class _Number(_Axis):
    """A number on a linear or logarithmic scale; each step covers half a step on either side."""

    def __init__(self, name: str, distribution: FloatDistribution | IntDistribution) -> None:
        super().__init__(name, 0)
        self._whole = isinstance(distribution, IntDistribution)
        self._low, self._high = distribution.low, distribution.high
        self._step = distribution.step
        half = 0.5 * (distribution.step or 0)
        self._to: Callable[[Any], Any] = np.log if distribution.log else np.asarray
        self._from: Callable[[Any], Any] = np.exp if distribution.log else np.asarray
        self._start = float(self._to(distribution.low - half))
        self._length = float(self._to(distribution.high + half)) - self._start

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def place(self, value: Any) -> float:
        return float(self.places(np.array([value], dtype=np.float64))[0])

    def value(self, u: float) -> Any:
        value = float(self._from(self._start + u * self._length))
        if self._step:
            value = self._low + round((value - self._low) / self._step) * self._step
        value = min(max(value, self._low), self._high)
        return int(value) if self._whole else value

    def moved(self, u: Array, other: Any) -> Array:
        return np.asarray(other.places(self.values(u)))

    def values(self, u: Array) -> Array:
        """The values at coordinates (n,)."""
        return np.asarray(self._from(self._start + u * self._length))

    def places(self, values: Array) -> Array:
        """The coordinates of values (n,)."""
        if not self._length:
            return np.full(len(values), 0.5)
        within = np.clip(values, self._low, self._high)
        return np.asarray((self._to(within) - self._start) / self._length)

    def encode(self, u: Array) -> Array:
        if self._step and self._length:
            u = self.places(self._low + self._stepped(u) * self._step)
        return u[:, None]

    def level(self, u: Array) -> npt.NDArray[np.int64]:
        return self._stepped(u).astype(np.int64) if self._step else super().level(u)

    def _stepped(self, u: Array) -> Array:
        assert self._step
        last = round((self._high - self._low) / self._step)  # at 1 rounding may go beyond it
        return np.clip(np.rint((self.values(u) - self._low) / self._step), 0, last)


class _Choice(_Axis):
    """A choice. Numbers and pairs are ordered on one axis; others have one feature per choice."""

    def __init__(self, name: str, choices: Sequence[Any]) -> None:
        super().__init__(name, len(choices))
        ordered = all(isinstance(c, int | float) for c in choices)
        self._choices = sorted(choices) if ordered else list(choices)
        if not ordered and self.levels > 2:
            self.features = self.levels

    def holds(self, value: Any) -> bool:
        return value in self._choices

    def place(self, value: Any) -> float:
        return (self._choices.index(value) + 0.5) / self.levels

    def value(self, u: float) -> Any:
        return self._choices[min(int(u * self.levels), self.levels - 1)]

    def moved(self, u: Array, other: Any) -> Array:
        places = np.array([other.place(choice) for choice in self._choices])
        return np.asarray(places[self.level(u)])

    def encode(self, u: Array) -> Array:
        if self.features == 1:
            return super().encode(u)
        # Two different choices are as far apart as the ends of a number's range.
        return np.eye(self.levels)[self.level(u)] / math.sqrt(2)


def shared(
    here: Mapping[str, BaseDistribution], there: Mapping[str, BaseDistribution]
) -> list[str]:
    """Names of the parameters of one space whose every value another space can place.

    Numbers in any ranges can be; of choices the other space must have all.
    """
    return [name for name in here if name in there and _places(there[name], here[name])]


def _places(there: BaseDistribution, here: BaseDistribution) -> bool:
    if isinstance(here, CategoricalDistribution):
        return isinstance(there, CategoricalDistribution) and {*here.choices} <= {*there.choices}
    return not isinstance(there, CategoricalDistribution)


def _axis(name: str, distribution: BaseDistribution) -> _Axis:
    if isinstance(distribution, CategoricalDistribution):
        return _Choice(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return _Number(name, distribution)
