"""What a study stores of its search space, as plain values."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from pydantic import Field, model_validator

from models.own_ranges import Range
from models.spec import Spec


class RangesRecord(Spec):
    """A built-in space, with its own ranges or the user's.

    Attributes:
        space: Name of the built-in space.
        ranges: The range of each parameter, as Optuna's JSON of its distribution.
    """

    kind: Literal["ranges"] = "ranges"
    space: str
    ranges: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, space: str, distributions: Mapping[str, BaseDistribution]) -> "RangesRecord":
        """The record of a space with these ranges."""
        ranges = {name: json.loads(distribution_to_json(d)) for name, d in distributions.items()}
        return cls(space=space, ranges=ranges)

    @model_validator(mode="after")
    def _check(self) -> "RangesRecord":
        try:
            self.distributions  # noqa: B018 - read to see whether it can be
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expected distributions as Optuna writes them ({error!r})") from error
        return self

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        return {name: json_to_distribution(json.dumps(r)) for name, r in self.ranges.items()}

    @property
    def title(self) -> str:
        """What identifies the space, but for its ranges."""
        return self.space

    @property
    def range_texts(self) -> dict[str, str]:
        """The range of each parameter as text, to show."""
        return {name: _shown(range_["attributes"]) for name, range_ in self.ranges.items()}


class CodeRecord(Spec):
    """A space of networks that a user's function builds.

    Attributes:
        digest: Hexadecimal digest of its source.
        function: Name of the function; the file may have moved.
        ranges: The range of each parameter.
    """

    kind: Literal["code"] = "code"
    digest: str
    function: str
    ranges: dict[str, Range]

    @property
    def title(self) -> str:
        """What identifies the space, but for its ranges."""
        return f"own networks of {self.function} (source {self.digest})"

    @property
    def range_texts(self) -> dict[str, str]:
        """The range of each parameter as text, to show."""
        return {name: _shown(range_.model_dump()) for name, range_ in self.ranges.items()}


SpaceRecord: TypeAlias = Annotated[RangesRecord | CodeRecord, Field(discriminator="kind")]


def described(record: SpaceRecord) -> str:
    """The space in one line, to show."""
    ranges = "; ".join(f"{name} {text}" for name, text in sorted(record.range_texts.items()))
    return f"{record.title}: {ranges}"


def differences(before: SpaceRecord, now: SpaceRecord) -> Iterator[tuple[str, str, str]]:
    """What differs between two spaces, and both values as text: the space, or some ranges."""
    if before.title != now.title:
        yield "space", before.title, now.title
        return
    texts, others = before.range_texts, now.range_texts
    for name in sorted(texts.keys() | others.keys()):
        if before.ranges.get(name) != now.ranges.get(name):
            yield name, texts.get(name, "(none)"), others.get(name, "(none)")


def _shown(range_: Mapping[str, Any]) -> str:
    """A range as text; different ranges have different texts."""
    if "choices" in range_:
        return ", ".join(json.dumps(choice) for choice in range_["choices"])
    ends = f"{range_['low']} to {range_['high']}"
    step = range_["step"]
    every = step is None or (step == 1 and isinstance(range_["low"], int))
    return f"{ends}{', log' if range_['log'] else ''}{'' if every else f', step {step}'}"
