"""The trial for a user's own ``build`` function, and the search for its parameters.

Neither Keras nor Optuna is used here. The suggest methods have Optuna's names, the others those of
KerasTuner.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.own_hyperparameters import HyperParameters
from models.own_ranges import Range, Value, choice, real, shown, whole

MOST_DRAWS = 200  # most calls by ``explore``
QUIET = 10  # calls in a row without anything new after which random calls end


class UnknownParameterError(Exception):
    """A build function requests a parameter that ``explore`` did not find."""


class OwnTrial(HyperParameters):
    """A trial from which a user's ``build`` requests parameters.

    It has the methods of an Optuna trial, and those of KerasTuner's ``HyperParameters``.

    Attributes:
        number: The trial's number in its study.
        params: The values so far, by name.
        defaults: The defaults that the user gave so far, by name.
        user_attrs: What the user has set, by name; JSON-compatible.

    Args:
        choose: Returns the value of a parameter, from its name, its range and the previous values
            of the trial.
        number: The trial's number.
    """

    def __init__(
        self, choose: Callable[[str, Range, Mapping[str, Value]], Value], number: int = 0
    ) -> None:
        super().__init__()
        self.number = number
        self.params: dict[str, Value] = {}
        self.defaults: dict[str, Value] = {}
        self.user_attrs: dict[str, Any] = {}
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
        value = self._suggest(name, whole(name, low, high, step, log=log))
        assert isinstance(value, int)
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from ``low`` to ``high``, inclusive.

        Raises:
            ValueError: The range is empty, or ``name`` had another range before.
        """
        value = self._suggest(name, real(name, low, high, step, log=log))
        assert isinstance(value, float)
        return value

    def suggest_uniform(self, name: str, low: float, high: float) -> float:
        """``suggest_float``, as older code has it."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self, name: str, low: float, high: float) -> float:
        """``suggest_float`` with ``log=True``, as older code has it."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self, name: str, low: float, high: float, q: float) -> float:
        """``suggest_float`` with ``step=q``, as older code has it."""
        return self.suggest_float(name, low, high, step=q)

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Any:
        """One of ``choices``: texts, numbers, True, False or None.

        Raises:
            ValueError: There are no choices, one has another type, or ``name`` had others before.
        """
        return self._suggest(name, choice(name, choices))

    def set_user_attr(self, key: str, value: Any) -> None:
        """Store a value with the trial.

        Raises:
            TypeError: It is not JSON-compatible.
        """
        self.user_attrs[key] = json.loads(json.dumps(value))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"this trial has no {name!r}: it gives values by suggest_int, suggest_float and "
            "suggest_categorical; treino itself reports and prunes"
        )

    def _valued(self, name: str, range_: Range, default: Any) -> Value:
        if default is not None:
            self.defaults[name] = range_.nearest(default)
        return self._suggest(name, range_)

    def _suggest(self, name: str, range_: Range) -> Value:
        if self._ranges.setdefault(name, range_) != range_:
            raise ValueError(f"{name!r}: {shown(self._ranges[name])} before, {shown(range_)} now")
        if name not in self.params:
            self.params[name] = self._choose(name, range_, self.params)
        return self.params[name]


def given(params: Mapping[str, Value], number: int = 0) -> OwnTrial:
    """A trial that answers from a configuration's values."""

    def choose(name: str, *_: object) -> Value:
        if name not in params:
            raise UnknownParameterError(
                f"{name!r} was never asked for while treino tried the function: ask for it in "
                "every call, and use it only where it is wanted"
            )
        return params[name]

    return OwnTrial(choose, number)


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
            range_: Range,
            params: Mapping[str, Value],
            held: Mapping[str, Value] = held,
        ) -> Value:
            if name not in ranges:
                ranges[name] = range_
                untried[name] = range_.ends()
                company[name] = dict(params)
            if ranges[name] != range_:
                raise ValueError(
                    f"{name!r}: {shown(ranges[name])} in one call, {shown(range_)} in another: a "
                    "range may not depend on other parameters; give it another name there"
                )
            if name in held:
                return held[name]
            return untried[name].pop(0) if untried[name] else range_.draw(source)

        call(OwnTrial(choose))
        if not ranges:
            break
        news = before != (sum(map(len, untried.values())), len(ranges))
        quiet = QUIET if held and news else 0 if news else quiet + 1
    return ranges
