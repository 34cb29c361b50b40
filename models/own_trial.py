"""The trial for a user's own ``build`` function, and the search for its parameters.

Neither Keras nor Optuna is used here. The suggest methods have Optuna's names.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from models.spec import Spec

Value: TypeAlias = bool | int | float | str | None

MOST_DRAWS = 200  # most calls by ``explore``
QUIET = 10  # calls in a row without anything new after which random calls end
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
            return self.low + self.step * source.randint(0, _steps(self.low, self.high, self.step))
        if self.log:
            return math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        return source.uniform(self.low, self.high)


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


Range: TypeAlias = Annotated[Whole | Real | Choice, Field(discriminator="kind")]
RANGES: TypeAdapter[dict[str, Range]] = TypeAdapter(dict[str, Range])
"""Converts ranges by parameter to JSON and back."""


class UnknownParameterError(Exception):
    """A build function requests a parameter that ``explore`` did not find."""


class OwnTrial:
    """A trial from which a user's ``build`` requests parameters, as from an Optuna trial.

    Attributes:
        params: The values so far, by name.

    Args:
        choose: Returns the value of a parameter, from its name, its range and the previous values
            of the trial.
    """

    def __init__(self, choose: Callable[[str, Range, Mapping[str, Value]], Value]) -> None:
        self.params: dict[str, Value] = {}
        self._choose = choose
        self._ranges: dict[str, Range] = {}

    @property
    def ranges(self) -> dict[str, Range]:
        """The requested ranges so far, by name."""
        return dict(self._ranges)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """An integer from ``low`` to ``high``, inclusive.

        Raises:
            ValueError: The range is empty, or ``name`` had another range before.
        """
        _check(name, low, high, step, log=log, whole=True)
        if log and step != 1:
            raise ValueError(f"{name!r}: log goes with step=1 only, not {step}")
        high -= (high - low) % step
        value = self._suggest(name, Whole(low=low, high=high, step=step, log=log))
        assert isinstance(value, int)
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from ``low`` to ``high``, inclusive.

        Raises:
            ValueError: The range is empty, or ``name`` had another range before.
        """
        _check(name, low, high, step, log=log, whole=False)
        if log and step is not None:
            raise ValueError(f"{name!r}: log goes without a step, not with {step}")
        if step is not None:
            high = low + step * _steps(low, high, step)
        step = None if step is None else float(step)
        value = self._suggest(name, Real(low=float(low), high=float(high), step=step, log=log))
        assert isinstance(value, float)
        return value

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Any:
        """One of ``choices``: texts, numbers, True, False or None.

        Raises:
            ValueError: There are no choices, one has another type, or ``name`` had others before.
        """
        if not choices or any(not isinstance(c, bool | int | float | str | None) for c in choices):
            raise ValueError(
                f"{name!r}: expected choices that are texts, numbers, True, False or None, "
                f"not {choices!r:.80}"
            )
        return self._suggest(name, Choice(choices=tuple(choices)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"this trial has no {name!r}: it gives values by suggest_int, suggest_float and "
            "suggest_categorical; treino itself reports and prunes"
        )

    def _suggest(self, name: str, asked: Range) -> Value:
        if self._ranges.setdefault(name, asked) != asked:
            raise ValueError(f"{name!r}: {_shown(self._ranges[name])} before, {_shown(asked)} now")
        if name not in self.params:
            self.params[name] = self._choose(name, asked, self.params)
        return self.params[name]


def given(params: Mapping[str, Value]) -> OwnTrial:
    """A trial that answers from a configuration's values."""

    def choose(name: str, *_: object) -> Value:
        if name not in params:
            raise UnknownParameterError(
                f"{name!r} was never asked for while treino tried the function: ask for it in "
                "every call, and use it only where it is wanted"
            )
        return params[name]

    return OwnTrial(choose)


def explore(call: Callable[[OwnTrial], None], seed: int = 0) -> dict[str, Range]:
    """Find the parameters that a function requests, by calling it with several trials.

    Parameters may be requested under conditions. So every choice and both ends of every range are
    tried: first in order, the rest at random, until QUIET calls in a row bring nothing new; then
    the remaining values, each with the values under which its parameter first appeared.

    Raises:
        ValueError: A parameter has one range in one call and another in the next.
    """
    source = random.Random(seed)
    ranges: dict[str, Range] = {}
    untried: dict[str, list[Value]] = {}
    company: dict[str, dict[str, Value]] = {}
    quiet = 0
    for _ in range(MOST_DRAWS):
        left = next((name for name in untried if untried[name]), None)
        if quiet >= QUIET and left is None:
            break
        held = company[left] if quiet >= QUIET and left is not None else {}
        before = sum(map(len, untried.values())), len(ranges)

        def choose(
            name: str,
            asked: Range,
            given: Mapping[str, Value],
            held: Mapping[str, Value] = held,
        ) -> Value:
            if name not in ranges:
                ranges[name] = asked
                untried[name] = asked.ends()
                company[name] = dict(given)
            if ranges[name] != asked:
                raise ValueError(
                    f"{name!r}: {_shown(ranges[name])} in one call, {_shown(asked)} in another: a "
                    "range may not depend on other parameters; give it another name there"
                )
            if name in held:
                return held[name]
            return untried[name].pop(0) if untried[name] else asked.draw(source)

        call(OwnTrial(choose))
        if not ranges:
            break
        news = before != (sum(map(len, untried.values())), len(ranges))
        quiet = QUIET if held and news else 0 if news else quiet + 1
    return ranges


def _check(
    name: str, low: float, high: float, step: float | None, *, log: bool, whole: bool
) -> None:
    ends: tuple[Any, ...] = (low, high) if step is None else (low, high, step)
    for end in ends:
        number = isinstance(end, int) or (isinstance(end, float) and not whole)
        if not number or isinstance(end, bool) or not math.isfinite(end):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name!r}: expected {kind}, not {end!r:.80}")
    if low > high:
        raise ValueError(f"{name!r}: low {low} is more than high {high}")
    if step is not None and step <= 0:
        raise ValueError(f"{name!r}: expected a step of more than 0, not {step}")
    if log and low <= 0:
        raise ValueError(f"{name!r}: a logarithmic range starts above 0, not at {low}")


def _steps(low: float, high: float, step: float) -> int:
    """Number of steps from ``low`` to the last value up to ``high``, with rounding tolerance."""
    return math.floor((high - low) / step + 1e-8)


def _shown(asked: Range) -> str:
    if isinstance(asked, Choice):
        return f"choices {list(asked.choices)}"
    step = "" if asked.step in (None, 1) else f" by {asked.step}"
    return f"{asked.low} to {asked.high}{step}{', log' if asked.log else ''}"
