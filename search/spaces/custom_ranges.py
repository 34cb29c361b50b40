"""A built-in space with the user's own ranges, read from a TOML file.

space = "documents"               # the built-in space to start from

[ranges]
last_filters = [128, 256]         # a list of choices, replacing the built-in ones
dropout_dense = { high = 0.5 }    # a range: low, high or both
batch_norm = true                 # one value: fixed, not searched
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from models.spec import SpecError, count_parameters
from search.errors import SettingsError
from search.spaces.builtin import Space
from search.spaces.unit_cube import Params

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True)
class OwnRanges(Space):
    """A built-in space with some ranges replaced by the user's.

    Attributes:
        base: The built-in space, which defines the parameters.
        own: The ranges that replace those of ``base``, by parameter.
    """

    base: Space
    own: Mapping[str, BaseDistribution]

    @classmethod
    def read(cls, file: Path, bases: Mapping[str, Space]) -> "OwnRanges":
        """Read a space from a TOML file that starts from one of ``bases``.

        Raises:
            SettingsError: The file cannot be read, has an unknown space or parameter, or has a
                range without a valid network.
        """
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"--space {file}: {error.strerror or error}") from error
        except ValueError as error:  # not TOML, or not UTF-8
            raise SettingsError(f"--space {file}: {error}") from error
        ranges = content.pop("ranges", {})
        name = content.pop("space", next(iter(bases)))
        if content:
            expected = "expected space = … and [ranges]"
            raise SettingsError(f"--space {file}: unknown {next(iter(content))!r}; {expected}")
        if name not in bases:
            raise SettingsError(f"--space {file}: space {name!r}: expected {' or '.join(bases)}")
        if not isinstance(ranges, dict):
            raise SettingsError(f"--space {file}: expected a table [ranges], not {ranges!r:.80}")
        base = bases[name]
        before = base.distributions()
        own = {}
        for parameter, written in ranges.items():
            if parameter not in before:
                names = ", ".join(before)
                raise SettingsError(
                    f"--space {file}: unknown parameter {parameter!r}; expected one of {names}"
                )
            try:
                own[parameter] = changed_range(before[parameter], written)
            except ValueError as error:
                raise SettingsError(f"--space {file}: {parameter}: {error}") from error
        _check(base, own, str(file))
        return cls(base.training, base.image_side, base=base, own=own)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the built-in space: the ranges identify the space, not the file."""
        return self.base.name

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        return {**self.base.distributions(), **self.own}

    def specs(self, params: Params) -> Any:
        """The network and the training that a configuration stands for."""
        return self.base.specs(params)

    def first_configurations(self) -> list[tuple[str, dict[str, Any]]]:
        """First configurations of the built-in space that are in these ranges."""
        return [first for first in self.base.first_configurations() if self.contains(first[1])]

    def of_documented_run(self) -> dict[str, Any] | None:
        """The documents' run 10, if it is in these ranges."""
        params = self.base.of_documented_run()
        return params if params is not None and self.contains(params) else None


def _check(base: Space, own: Mapping[str, BaseDistribution], where: str) -> None:
    """Refuse ranges whose ends give no valid network: their trials would all fail.

    Raises:
        SettingsError: An end is not valid, with the other parameters at their first built-in value.
    """
    first = {name: _ends(distribution)[0] for name, distribution in base.distributions().items()}
    for name, distribution in own.items():
        for value in _ends(distribution):
            try:
                model, _ = base.specs({**first, name: value})
                count_parameters(model, (base.image_side, base.image_side, 3), 2)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]["msg"]
                raise SettingsError(f"--space {where}: {name} {value!r}: {fault}") from error
            except SpecError as error:
                raise SettingsError(f"--space {where}: {name} {value!r}: {error}") from error


def _ends(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def changed_range(before: BaseDistribution, written: Any) -> BaseDistribution:
    """The range ``before``, changed as ``written`` says.

    Args:
        before: The range to change.
        written: A list of choices, a table with low, high or both, or one value.

    Raises:
        ValueError: ``written`` is not valid for it.
    """
    if isinstance(before, CategoricalDistribution):
        choices = written if isinstance(written, list) else [written]
        kinds = {type(choice) for choice in before.choices}
        if not choices or any(type(choice) not in kinds for choice in choices):
            shown = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"expected a list of choices ({shown}), not {written!r:.80}")
        return CategoricalDistribution(tuple(dict.fromkeys(choices)))
    assert isinstance(before, IntDistribution | FloatDistribution)
    ends = {"low": before.low, "high": before.high}
    if not isinstance(written, dict):
        written = dict.fromkeys(ends, written)
    whole = isinstance(before, IntDistribution)
    for end, value in written.items():
        if end not in ends:
            raise ValueError(f"expected low and high, not {end!r}")
        if type(value) is not int and (whole or type(value) is not float):
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"expected {{ low = …, high = … }} or {kind}, not {value!r:.80}")
        ends[end] = value
    low, high = ends["low"], ends["high"]
    if not low <= high:
        raise ValueError(f"low {low} is more than high {high}")
    if whole:
        return IntDistribution(int(low), int(high), log=before.log, step=int(before.step or 1))
    return FloatDistribution(low, high, log=before.log, step=before.step)  # refuses log of 0
