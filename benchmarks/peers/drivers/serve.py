"""Serves a peer's search as JSON lines: a request per line of input, an answer per line of output.

    python serve.py DRIVER.py

It runs with the interpreter of the peer's own virtual environment, so it imports nothing of treino,
nor anything else outside the standard library. The driver imports the peer's package and has a
function ``make(start)``, which returns a Driver.

    start            {"epochs", "distributions", "seed", "workers", "budget", "options", "sources"}
    {"work": true}   answer: {"config", "params"}, or null to wait until another worker reports
    {"epoch": [config, epoch, loss]}   answer: true to continue, false to stop
    {"epoch": [config, epoch, loss, size]}   the same, for a task of two objectives

Distributions are Optuna's JSON. A loss may be NaN or Infinity.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True)
class Parameter:
    """A parameter of the search space, as packages without steps know it.

    A number with a step is searched by its position in the range, from 0. A choice is known by its
    index, because packages differ in which values a choice may have.

    Attributes:
        name: Its name.
        kind: float, int or categorical.
        choices: Values of a categorical one.
        low: Least value of a number.
        high: Greatest value of a number.
        log: Whether a number is searched on a logarithmic scale.
        origin: Value of position 0.
        step: Distance of a number's values; None where it is searched by its value.
    """

    name: str
    kind: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    origin: float = 0
    step: float | None = None

    def value(self, searched: Any) -> Any:
        """The value of a searched number or index, as JSON knows it."""
        if self.kind == "categorical":
            return self.choices[int(searched)]
        number = int(searched) if self.kind == "int" else float(searched)
        number = min(max(number, self.low), self.high)  # rounding may leave the range
        return number if self.step is None else self.origin + number * self.step


@dataclass(frozen=True)
class Start:
    """What a search starts with.

    Attributes:
        epochs: Length of a full training.
        distributions: The parameters in Optuna's JSON, by name.
        seed: Seed of the search.
        workers: Number of workers.
        budget: Total epochs.
        options: The driver's own options.
        sources: Learning curves of other tasks, by task: {"params", "losses"} each. Their numbers
            have no steps.
    """

    epochs: int
    distributions: dict[str, dict[str, Any]]
    seed: int
    workers: int
    budget: int
    options: dict[str, str]
    sources: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def parameters(self) -> list[Parameter]:
        """The parameters of the search space."""
        return [_parameter(name, distribution) for name, distribution in self.distributions.items()]


Job: TypeAlias = "tuple[int, dict[str, Any]]"
"""A training of a free worker: the configuration's number, from 0, and the configuration.

A configuration that trained before resumes.
"""


class Driver(Protocol):
    """A search of a peer; see ``search.replay.simulation.Strategy``."""

    def work(self) -> Job | None:
        """The next job of a free worker; None to wait until another worker reports."""

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        """Take the result of an epoch, from 1; return whether its worker continues.

        ``size`` is the second objective of a configuration; empty for a task of one objective.
        """


def _parameter(name: str, distribution: dict[str, Any]) -> Parameter:
    attributes = distribution["attributes"]
    if distribution["name"] == "CategoricalDistribution":
        return Parameter(name, "categorical", choices=tuple(attributes["choices"]))
    kind = "int" if distribution["name"] == "IntDistribution" else "float"
    low, high, step = attributes["low"], attributes["high"], attributes["step"]
    if step is None or (kind == "int" and step == 1):
        return Parameter(name, kind, low=low, high=high, log=attributes["log"])
    return Parameter(name, "int", high=round((high - low) / step), origin=low, step=step)


def main() -> None:
    """Serve the driver of the command line until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints must not mix with the answers
    path = Path(sys.argv[1])
    sys.path.insert(0, str(path.parent))
    start = Start(**json.loads(sys.stdin.readline()))
    driver: Driver = importlib.import_module(path.stem).make(start)
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if "work" in request:
            job = driver.work()
            answer = None if job is None else {"config": job[0], "params": job[1]}
        else:
            answer = driver.epoch(*request["epoch"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
