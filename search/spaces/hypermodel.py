"""The search space of a user's own function that builds networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from models.own_ranges import Choice, Range, Real, Value
from models.spec import OwnSpec, TrainingSpec
from search.errors import SettingsError
from search.spaces.builtin import Space
from search.spaces.records import CodeRecord
from search.spaces.unit_cube import Params

OF_TRAINING = ("batch_size", "learning_rate")  # parameters that training also uses


@dataclass(frozen=True, kw_only=True)
class OwnNetworks(Space):
    """The search space of a user's function.

    Attributes:
        code: The function: a file's absolute path, or a module, a colon and its name.
        digest: Digest of its source.
        ranges: The ranges it suggests, by parameter.
        defaults: The defaults it gives, by parameter.
    """

    code: str
    digest: str
    ranges: Mapping[str, Range]
    defaults: Mapping[str, Value] = field(default_factory=dict)

    name = "own"

    def __post_init__(self) -> None:
        """Check the parameters that training uses.

        Raises:
            SettingsError: A batch size or learning rate is invalid, or nothing is searched.
        """
        if not self.ranges:
            raise SettingsError(
                f"--space {self.code}: the function suggests no parameters to search"
            )
        for name in OF_TRAINING:
            for value in self.ranges[name].ends() if name in self.ranges else ():
                try:
                    self._of({name: value})
                except ValidationError as error:
                    fault = error.errors(include_url=False)[0]["msg"]
                    raise SettingsError(
                        f"--space {self.code}: {name} {value!r}: {fault}"
                    ) from error

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        return {name: _distribution(range_) for name, range_ in self.ranges.items()}

    def record(self) -> CodeRecord:
        """What a study stores of the space, independent of the file's location."""
        function = self.code.rpartition(":")[2]
        return CodeRecord(digest=self.digest, function=function, ranges=dict(self.ranges))

    def specs(self, params: Params) -> Any:
        """The input of the user's function, and the training."""
        model = OwnSpec(code=self.code, digest=self.digest, params=dict(params))
        return model, self._of(params)

    def of_documented_run(self) -> None:
        """None: the function is the user's."""

    def first_configurations(self) -> list[tuple[str, dict[str, Any]]]:
        """The function's defaults, if it gives any; elsewhere the first value of a range."""
        if not self.defaults:
            return []
        first = {name: range_.ends()[0] for name, range_ in self.ranges.items()}
        return [("defaults of the function", {**first, **self.defaults})]

    def _of(self, params: Params) -> TrainingSpec:
        return self.training.spec(**{name: params[name] for name in OF_TRAINING if name in params})


def _distribution(range_: Range) -> BaseDistribution:
    if isinstance(range_, Choice):
        return CategoricalDistribution(range_.choices)
    if isinstance(range_, Real):
        return FloatDistribution(range_.low, range_.high, log=range_.log, step=range_.step)
    return IntDistribution(range_.low, range_.high, log=range_.log, step=range_.step)
