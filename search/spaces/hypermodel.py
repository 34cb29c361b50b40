"""The search space of a user's own function that builds networks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from models.own_trial import RANGES, Choice, Range, Real
from models.spec import OwnSpec, TrainingSpec
from search.errors import SettingsError
from search.spaces.builtin import Space
from search.spaces.unit_cube import Params

OF_TRAINING = ("batch_size", "learning_rate")  # parameters that training also uses


@dataclass(frozen=True, kw_only=True)
class OwnNetworks(Space):
    """The search space of a user's function.

    Attributes:
        code: The function: a file's absolute path, or a module, a colon and its name.
        digest: Digest of its source.
        ranges: The ranges it suggests, by parameter.
    """

    code: str
    digest: str
    ranges: Mapping[str, Range]

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

    @classmethod
    def from_text(cls, text: str, code: str, **common: Any) -> "OwnNetworks":
        """Rebuild a space from the text of ``describe``, with the common settings."""
        known = json.loads(text.partition(": ")[2])
        return cls(
            **common,
            code=code,
            digest=known["digest"],
            ranges=RANGES.validate_json(json.dumps(known["ranges"])),
        )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        return {name: _distribution(asked) for name, asked in self.ranges.items()}

    def describe(self) -> str:
        """The space as one line of text, independent of the file's location."""
        ranges = RANGES.dump_python(dict(self.ranges), mode="json")
        known = {"digest": self.digest, "function": self.code.rpartition(":")[2], "ranges": ranges}
        return f"{self.name}, {self.train_order}: {json.dumps(known, sort_keys=True)}"

    def specs(self, params: Params) -> Any:
        """The input of the user's function, and the training."""
        model = OwnSpec(code=self.code, digest=self.digest, params=dict(params))
        return model, self._of(params)

    def of_documented_run(self) -> None:
        """None: the function is the user's."""

    def _of(self, params: Params) -> TrainingSpec:
        return self._training(**{name: params[name] for name in OF_TRAINING if name in params})


def _distribution(asked: Range) -> BaseDistribution:
    if isinstance(asked, Choice):
        return CategoricalDistribution(asked.choices)
    if isinstance(asked, Real):
        return FloatDistribution(asked.low, asked.high, log=asked.log, step=asked.step)
    return IntDistribution(asked.low, asked.high, log=asked.log, step=asked.step)
