"""The ranges that a user's own ``build`` function requests, as plain values."""

import math
import random
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from models.spec import Spec

Value: TypeAlias = bool | int | float | str | None

FEW = 8  # every value of an integer range of at most this size is tried


class Whole(Spec):
    """Integers from ``low`` to ``high``, inclusive, by ``step``."""

    kind: Literal["whole"] = "whole"
    low: int
    high: int
    step: int = 1
    log: bool = False

    def ends(self) -> list[Value]:
        """The values to try: all, if they are few."""
        values = range(self.low, self.high + 1, self.step)
        return list(values) if len(values) <= FEW else [self.low, self.high]

    def draw(self, source: random.Random) -> Value:
        """Any value."""
        return source.randrange(self.low, self.high + 1, self.step)

    def nearest(self, value: Any) -> Value:
        """The value of the range that is nearest to a number."""
        inside = float(min(max(value, self.low), self.high))
        return self.low + self.step * round((inside - self.low) / self.step)


class Real(Spec):
    """Numbers from ``low`` to ``high``, inclusive; continuous, or by ``step``."""

    kind: Literal["real"] = "real"
    low: float
    high: float
    step: float | None = None
    log: bool = False

    def ends(self) -> list[Value]:
        """The values to try."""
        return [self.low, self.high]

    def draw(self, source: random.Random) -> Value:
        """Any value."""
        if self.step is not None:
            return self.low + self.step * source.randint(0, steps(self.low, self.high, self.step))
        if self.log:
            return math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        return source.uniform(self.low, self.high)

    def nearest(self, value: Any) -> Value:
        """The value of the range that is nearest to a number."""
        inside = min(max(float(value), self.low), self.high)
        if self.step is None:
            return inside
        return self.low + self.step * round((inside - self.low) / self.step)


class Choice(Spec):
    """One of ``choices``."""

    kind: Literal["choice"] = "choice"
    choices: tuple[Value, ...]

    def ends(self) -> list[Value]:
        """The values to try: all."""
        return list(self.choices)

    def draw(self, source: random.Random) -> Value:
        """Any value."""
        return source.choice(self.choices)

    def nearest(self, value: Any) -> Value:
        """The choice that equals a value, else the nearest number, else the first."""
        if value in self.choices:
            return self.choices[self.choices.index(value)]
        numbers = [c for c in self.choices if isinstance(c, int | float)]
        if numbers and isinstance(value, int | float):
            return min(numbers, key=lambda choice: abs(choice - value))
        return self.choices[0]


Range: TypeAlias = Annotated[Whole | Real | Choice, Field(discriminator="kind")]
RANGES: TypeAdapter[dict[str, Range]] = TypeAdapter(dict[str, Range])
"""Converts ranges by parameter to JSON and back."""


def whole(name: str, low: int, high: int, step: int = 1, *, log: bool = False) -> Whole:
    """A range of integers, up to the last step.

    Raises:
        ValueError: It is empty, or its ends are no integers.
    """
    _check(name, low, high, step, log=log, kind="a whole number")
    if log and step != 1:
        raise ValueError(f"{name!r}: log goes with step=1 only, not {step}")
    return Whole(low=low, high=high - (high - low) % step, step=step, log=log)


def real(
    name: str, low: float, high: float, step: float | None = None, *, log: bool = False
) -> Real:
    """A range of numbers, up to the last step.

    Raises:
        ValueError: It is empty, or its ends are no numbers.
    """
    _check(name, low, high, step, log=log, kind="a number")
    if log and step is not None:
        raise ValueError(f"{name!r}: log goes without a step, not with {step}")
    if step is None:
        return Real(low=float(low), high=float(high), log=log)
    high = low + step * steps(low, high, step)
    return Real(low=float(low), high=float(high), step=float(step))


def choice(name: str, choices: Any) -> Choice:
    """A choice of values.

    Raises:
        ValueError: There are none, or one is no text, number, True, False or None.
    """
    if not choices or any(not isinstance(c, bool | int | float | str | None) for c in choices):
        raise ValueError(
            f"{name!r}: expected choices that are texts, numbers, True, False or None, "
            f"not {choices!r:.80}"
        )
    return Choice(choices=tuple(choices))


def steps(low: float, high: float, step: float) -> int:
    """Number of steps from ``low`` to the last value up to ``high``, with rounding tolerance."""
    return math.floor((high - low) / step + 1e-8)


def shown(range_: Range) -> str:
    """A range as text, for a message."""
    if isinstance(range_, Choice):
        return f"choices {list(range_.choices)}"
    step = "" if range_.step in (None, 1) else f" by {range_.step}"
    return f"{range_.low} to {range_.high}{step}{', log' if range_.log else ''}"


def _check(name: str, low: float, high: float, step: float | None, *, log: bool, kind: str) -> None:
    ends: tuple[Any, ...] = (low, high) if step is None else (low, high, step)
    for end in ends:
        number = isinstance(end, int) or (isinstance(end, float) and kind == "a number")
        if not number or isinstance(end, bool) or not math.isfinite(end):
            raise ValueError(f"{name!r}: expected {kind}, not {end!r:.80}")
    if low > high:
        raise ValueError(f"{name!r}: low {low} is more than high {high}")
    if step is not None and step <= 0:
        raise ValueError(f"{name!r}: expected a step of more than 0, not {step}")
    if log and low <= 0:
        raise ValueError(f"{name!r}: a logarithmic range starts above 0, not at {low}")
