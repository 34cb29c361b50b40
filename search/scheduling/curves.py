"""Recorded learning curves, and the file format that stores them."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from optuna.distributions import BaseDistribution, json_to_distribution
from pydantic import Field, model_validator

from models.spec import Spec, SpecError
from search.errors import TreinoError
from search.spaces.unit_cube import Array
from storage.files import write_atomically

FORMAT = 1
LEAST = 10  # fewest configurations: fewer cannot tell two strategies apart
DIGITS = 5  # stored decimals of losses and accuracies

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Curve(Spec):
    """A configuration and its learning curve.

    Attributes:
        trial: Number of the trial that trained it.
        params: The configuration.
        val_loss: Validation loss after each epoch, in nats, without the L2 penalty.
        val_accuracy: Validation accuracy after each epoch, 0 to 1.
        diverged: Whether the loss then became NaN or infinite, or the network did not fit in
            memory: no further epoch has a loss. If false, a short curve is from a training that
            stopped early, and its last loss stands for the missing epochs.
    """

    trial: int = Field(ge=0)
    params: dict[str, bool | int | float | str]
    val_loss: tuple[float, ...]
    val_accuracy: tuple[Share, ...]
    diverged: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Curve":
        if len(self.val_loss) != len(self.val_accuracy):
            raise ValueError(f"expected as many losses as accuracies for trial {self.trial}")
        if not self.val_loss and not self.diverged:
            raise ValueError(f"expected a loss for trial {self.trial}, which did not diverge")
        return self

    def filled(self, epochs: int) -> list[float]:
        """The losses, extended to that many epochs."""
        left = epochs - len(self.val_loss)
        return [*self.val_loss, *[math.inf if self.diverged else self.val_loss[-1]] * left]


class Curves(Spec):
    """Recorded curves and their common properties.

    Attributes:
        format: Version of the file format.
        data: Name and fingerprint of the images.
        space: Description of the space (``search.spaces.records.described``).
        epochs: Length of a full training.
        seed: Seed of the study.
        versions: Versions of the software that trained them.
        distributions: The parameters, each as Optuna's JSON of its distribution.
        configurations: The curves, in the order of their trials.
    """

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    data: str
    space: str
    epochs: int = Field(ge=1)
    seed: int
    versions: dict[str, str]
    distributions: dict[str, dict[str, Any]]
    configurations: tuple[Curve, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Curves":
        try:
            ranges = self.ranges
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expected distributions as Optuna writes them ({error!r})") from error
        for curve in self.configurations:
            if len(curve.val_loss) > self.epochs:
                raise ValueError(f"expected at most {self.epochs} epochs for trial {curve.trial}")
            if curve.params.keys() != ranges.keys() or not all(
                range_._contains(range_.to_internal_repr(curve.params[name]))  # noqa: SLF001 - Optuna has no other way
                for name, range_ in ranges.items()
            ):
                raise ValueError(f"expected parameters of trial {curve.trial} within their ranges")
        return self

    @property
    def ranges(self) -> dict[str, BaseDistribution]:
        """The parameters with their ranges."""
        return {
            name: json_to_distribution(json.dumps(range_))
            for name, range_ in self.distributions.items()
        }

    def table(self) -> Array:
        """The losses, (configurations, epochs); short curves are filled as by ``filled``."""
        return np.array([curve.filled(self.epochs) for curve in self.configurations])

    def to_text(self) -> str:
        """JSON with one line per configuration, easy to diff."""
        head = self.model_dump(mode="json", exclude={"configurations"})
        lines = [f'  "{name}": {_json(value)},' for name, value in head.items()]
        curves = [
            f"    {_json(curve.model_dump(mode='json', exclude_defaults=True))}"
            for curve in self.configurations
        ]
        return "\n".join(["{", *lines, '  "configurations": [', ",\n".join(curves), "  ]", "}\n"])


def write(curves: Curves, path: Path) -> None:
    """Write curves to a file atomically.

    Raises:
        StorageError: The file cannot be written.
    """
    write_atomically(path, curves.to_text())


def read(path: Path) -> Curves:
    """Read the curves in a file.

    Raises:
        TreinoError: The file cannot be read, or has other content.
    """
    try:
        return Curves.from_json(path.read_bytes())
    except OSError as error:
        raise TreinoError(f"cannot read {path}: {error.strerror or error}") from error
    except SpecError as error:
        raise TreinoError(
            f"{path} is not a curves file written by treino record: {error}"
        ) from error


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
