"""KerasTuner's interface to a trial: code written for ``build(hp)`` runs unchanged.

KerasTuner itself is not used. A parameter of an inactive scope is None and is not searched, and a
name that is requested again returns its first value, as in KerasTuner.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from models.own_ranges import Choice, Range, Value, choice, real, whole

_SAMPLINGS = ("linear", "log", "reverse_log")
_PLAIN = (bool, int, float, str)


class HyperParameters(ABC):
    """The methods of KerasTuner's ``HyperParameters``.

    Attributes:
        values: The active values so far, by name; fixed ones included.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._inactive: set[str] = set()  # names requested in inactive scopes
        self._names: list[str] = []  # the name scopes
        self._active: list[bool] = []  # the conditional scopes

    @abstractmethod
    def _valued(self, name: str, range_: Range, default: Any) -> Value:
        """The value of a parameter; ``default`` is None if the user gave none."""

    def Int(  # noqa: N802 - KerasTuner's name, as those below
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str | None = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """An integer from ``min_value`` to ``max_value``, inclusive; None in an inactive scope.

        With ``sampling="log"``, ``step`` is a factor.

        Raises:
            ValueError: The range is empty.
        """
        range_: Range
        ends = (_whole(name, min_value), _whole(name, max_value))
        kind = _sampling(name, sampling)
        if kind == "linear" or step is None:
            each = 1 if step is None else _whole(name, step)
            range_ = whole(name, *ends, each, log=kind == "log")
        else:
            range_ = choice(name, [round(value) for value in _powers(name, *ends, step, kind)])
        return self._registered(name, range_, default, parent_name, parent_values)

    def Float(  # noqa: N802
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str | None = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """A number from ``min_value`` to ``max_value``, inclusive; None in an inactive scope.

        With ``sampling="log"``, ``step`` is a factor.

        Raises:
            ValueError: The range is empty.
        """
        range_: Range
        ends = (float(min_value), float(max_value))
        kind = _sampling(name, sampling)
        if kind == "linear" or step is None:
            range_ = real(name, *ends, step, log=kind == "log")
        else:
            range_ = choice(name, _powers(name, *ends, step, kind))
        return self._registered(name, range_, default, parent_name, parent_values)

    def Choice(  # noqa: N802
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """One of ``values``; None in an inactive scope.

        Raises:
            ValueError: There are no values, or ``default`` is none of them.
        """
        range_ = choice(name, [_plain(value) for value in values])
        if default is not None and _plain(default) not in range_.choices:
            raise ValueError(f"{name!r}: default {default!r} is not one of {list(range_.choices)}")
        return self._registered(name, range_, default, parent_name, parent_values)

    def Boolean(  # noqa: N802
        self,
        name: str,
        default: bool | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """True or False; None in an inactive scope."""
        range_ = Choice(choices=(False, True))
        return self._registered(name, range_, default, parent_name, parent_values)

    def Fixed(  # noqa: N802
        self,
        name: str,
        value: Any,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """``value``, which is not searched; None in an inactive scope."""
        return self._registered(name, None, _plain(value), parent_name, parent_values)

    def get(self, name: str) -> Any:
        """The value of a parameter that was requested before.

        Raises:
            ValueError: It was requested in an inactive scope.
            KeyError: It was not requested.
        """
        name = self._full(name)
        if name in self.values:
            return self.values[name]
        if name in self._inactive:
            raise ValueError(f"{name} is currently inactive")
        raise KeyError(f"{name} does not exist: request it first, with hp.Int, hp.Choice or so")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        return self._full(name) in self.values

    def is_active(self, hyperparameter: Any) -> bool:
        """Whether a parameter was requested in active scopes."""
        return str(getattr(hyperparameter, "name", hyperparameter)) in self.values

    def copy(self) -> "HyperParameters":
        """A copy that answers new parameters with their defaults, and searches none."""
        return _Defaults(self.values)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name`` and a slash before the names inside."""
        self._names.append(name)
        try:
            yield
        finally:
            self._names.pop()

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Parameters inside are active only while the parent has one of the values.

        Raises:
            ValueError: The parent was not requested before.
        """
        parent = self._full(parent_name)
        if parent not in self.values and parent not in self._inactive:
            raise ValueError(f"{parent} is not defined: request it before its conditional_scope")
        many = isinstance(parent_values, list | tuple)
        values = parent_values if many else [parent_values]
        self._active.append(parent in self.values and self.values[parent] in values)
        try:
            yield
        finally:
            self._active.pop()

    def _registered(
        self, name: str, range_: Range | None, default: Any, parent: str | None, values: Any
    ) -> Any:
        """The value of a parameter; that of ``default`` where there is no range."""
        if parent is not None:
            with self.conditional_scope(parent, values):
                return self._registered(name, range_, default, None, None)
        name = self._full(name)
        if not all(self._active):
            self._inactive.add(name)
            return None
        if name not in self.values:
            self.values[name] = default if range_ is None else self._valued(name, range_, default)
        return self.values[name]

    def _full(self, name: str) -> str:
        return "/".join([*self._names, name])


class _Defaults(HyperParameters):
    """Answers every parameter with its default."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = dict(values)

    def _valued(self, name: str, range_: Range, default: Any) -> Value:
        return range_.ends()[0] if default is None else range_.nearest(default)


def _sampling(name: str, sampling: str | None) -> str:
    """The sampling of a range. Where it is ``reverse_log``, values are drawn evenly.

    Raises:
        ValueError: It is another one.
    """
    kind = "linear" if sampling is None else str(sampling).lower()
    if kind not in _SAMPLINGS:
        raise ValueError(f"{name!r}: sampling {sampling!r}: expected {', '.join(_SAMPLINGS)}")
    return kind


def _powers(name: str, low: float, high: float, factor: float, sampling: str) -> list[float]:
    """``low`` times the powers of ``factor``, up to ``high``; mirrored for ``reverse_log``."""
    if low <= 0 or low > high or factor <= 1:
        raise ValueError(
            f"{name!r}: expected 0 < min_value <= max_value and a step of more than 1, a factor, "
            f"not {low}, {high} and {factor}"
        )
    count = int(math.log(high / low, factor) + 1e-8) + 1
    values = [low * factor**power for power in range(count)]
    return values if sampling == "log" else [high + low - value for value in values]


def _whole(name: str, number: Any) -> int:
    if isinstance(number, bool) or int(number) != number:
        raise ValueError(f"{name!r}: expected a whole number, not {number!r:.80}")
    return int(number)


def _plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's."""
    return value if isinstance(value, _PLAIN) or value is None else _item(value)


def _item(value: Any) -> Any:
    return value.item() if getattr(value, "shape", None) == () else value
