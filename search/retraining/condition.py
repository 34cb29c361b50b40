"""Conditions on the figures of a trial, such as ``parameters < 300_000 and val_loss <= 0.9``.

They are written as in Python, read by Python's parser and compared here: nothing of a condition is
executed.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from search.console.text import plural
from search.errors import NothingToTrainError, SettingsError

_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COMPARISONS = {**_ORDERS, ast.Eq: operator.eq, ast.NotEq: operator.ne}


@dataclass(frozen=True)
class _Side:
    """One side of a comparison: a figure's name, or else a constant."""

    name: str = ""
    constant: Any = None

    def of(self, figures: Mapping[str, Any]) -> Any:
        return figures[self.name] if self.name else self.constant


@dataclass(frozen=True)
class _Comparison:
    left: _Side
    right: _Side
    kind: type[ast.cmpop]

    @property
    def names(self) -> list[str]:
        return [side.name for side in (self.left, self.right) if side.name]

    def gap(self, figures: Mapping[str, Any]) -> float:
        """How far the figures are from fitting: 0 if they do, relative; infinite if unknown.

        Raises:
            SettingsError: It orders a text and a number.
        """
        if any(name not in figures for name in self.names):
            return math.inf
        left, right = self.left.of(figures), self.right.of(figures)
        if left is None or right is None:  # a choice of a network of the user's own
            fits = self.kind not in _ORDERS and _COMPARISONS[self.kind](left, right)
            return 0.0 if fits else 1.0
        texts = [isinstance(side, str) for side in (left, right)]
        if self.kind in _ORDERS and any(texts):
            raise SettingsError(f"{self.names[0]} is compared as a text: expected == or !=")
        if _COMPARISONS[self.kind](left, right):
            return 0.0
        if any(texts):
            return 1.0
        scale = max(abs(left), abs(right))
        # Equal numbers miss an inequality by as little as there is.
        return max(abs(left - right) / scale if scale else 0.0, 1e-9)


@dataclass(frozen=True)
class Condition:
    """A condition on the figures of a trial: comparisons that all have to hold.

    Attributes:
        text: The condition as it was written.
    """

    text: str
    _comparisons: tuple[_Comparison, ...]

    @classmethod
    def parse(cls, text: str, names: Collection[str]) -> "Condition":
        """Read a condition on figures with these names.

        Raises:
            SettingsError: It is none. The message lists the names.
        """
        expected = (
            "expected comparisons (< <= > >= == !=) joined by and, such as "
            f"'parameters < 300_000 and val_loss <= 0.9'; the names are {', '.join(sorted(names))}"
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as for an invalid escape sequence
                parsed = ast.parse(text.strip(), mode="eval").body
            comparisons = tuple(_comparisons(parsed))
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, Warning):
            raise SettingsError(f"--where {text!r}: {expected}") from None
        for comparison in comparisons:
            for name in comparison.names:
                if name not in names:
                    raise SettingsError(f"--where {text!r}: unknown name {name!r}; {expected}")
        return cls(text, comparisons)

    def gap(self, figures: Mapping[str, Any]) -> float:
        """How far figures are from fitting: the sum over the comparisons; 0 if they fit.

        Raises:
            SettingsError: It orders a text and a number.
        """
        try:
            return sum(comparison.gap(figures) for comparison in self._comparisons)
        except SettingsError as error:
            raise SettingsError(f"--where {self.text!r}: {error}") from None

    def missed(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """The figures that do not fit, by name."""
        failing = (c for c in self._comparisons if c.gap(figures) > 0)
        return {name: figures.get(name) for c in failing for name in c.names}


def fitting(text: str, figures: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """The numbers of the trials that fit a condition, in their order.

    Args:
        text: The condition.
        figures: Figures by the number of their trial.

    Raises:
        NothingToTrainError: None fits. The message has the nearest one.
        SettingsError: The text is no condition on their figures.
    """
    if not figures:
        return []
    condition = Condition.parse(text, {name for of_trial in figures.values() for name in of_trial})
    gaps = {number: condition.gap(of_trial) for number, of_trial in figures.items()}
    fit = [number for number, gap in gaps.items() if gap == 0]
    if fit:
        return fit
    nearest = min(gaps, key=lambda number: gaps[number])
    values = ", ".join(
        f"{name} {_shown(value)}" for name, value in condition.missed(figures[nearest]).items()
    )
    raise NothingToTrainError(
        f"--where {text!r}: none of {plural(len(figures), 'trained trial')} fits; "
        f"the nearest is trial {nearest} with {values}"
    )


def _comparisons(tree: ast.expr) -> Iterator[_Comparison]:
    """The comparisons of a condition; ValueError if it is none."""
    match tree:
        case ast.BoolOp(op=ast.And()):
            for value in tree.values:
                yield from _comparisons(value)
        case ast.Compare():
            sides = [_side(side) for side in (tree.left, *tree.comparators)]
            for (left, right), kind in zip(pairwise(sides), map(type, tree.ops), strict=True):
                comparison = _Comparison(left, right, kind)
                if kind not in _COMPARISONS or not comparison.names:
                    raise ValueError
                yield comparison
        case _:
            raise ValueError


def _side(tree: ast.expr) -> _Side:
    match tree:
        case ast.Name(id=name):
            return _Side(name)
        case ast.Constant(value=str() as text):
            return _Side(constant=text)
        case ast.Constant(value=int() | float() as number) if math.isfinite(number):
            return _Side(constant=number)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return _side(ast.Constant(-number))
    raise ValueError


def _shown(value: object) -> str:
    if isinstance(value, bool | str):
        return repr(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else "unknown"
