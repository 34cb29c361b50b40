"""A driver of random search, from the standard library only: what a peer's driver looks like.

Its options make it fail: ``fault`` says how.
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.peers.drivers.serve import Job, Parameter, Start


class Search:
    """Each configuration trains for a third of the epochs, waits, and later trains to its end.

    With sizes, one that is larger than half of the range ends with its first epoch. With curves of
    other tasks, the best configuration of each is the first.
    """

    def __init__(self, start: Start) -> None:
        self._random = random.Random(start.seed)
        self._parameters = start.parameters()
        self._epochs = start.epochs
        self._configs: list[dict[str, Any]] = []
        self._paused: list[int] = []
        self._fault = start.options.get("fault")
        self._best = [
            min(curves, key=lambda curve: min(curve["losses"]))["params"]
            for curves in start.sources.values()
        ]

    def work(self) -> Job | None:
        sys.stdout.write("a package may print\n")
        sys.stdout.flush()
        if self._fault == "raise":
            raise MemoryError("no room for the model")
        if self._fault == "leave":
            os._exit(3)
        if self._fault == "other parameters":
            return 0, {"x": 1}
        if self._fault == "wait":
            return None
        if len(self._paused) > 1:
            config = self._paused.pop(0)
        else:
            config = len(self._configs)
            drawn = {p.name: p.value(self._drawn(p)) for p in self._parameters}
            self._configs.append(self._best[config] if config < len(self._best) else drawn)
        return config, self._configs[config]

    def epoch(self, config: int, epoch: int, loss: float, *size: float) -> bool:
        if self._fault == "words":
            return "continue"  # type: ignore[return-value]
        if size and size[0] > 0.5:
            return False
        if epoch == self._epochs // 3:
            self._paused.append(config)
        return epoch not in {self._epochs // 3, self._epochs}

    def _drawn(self, parameter: Parameter) -> float:
        if parameter.kind == "categorical":
            return self._random.randrange(len(parameter.choices))
        return self._random.uniform(parameter.low, parameter.high)


def make(start: Start) -> Search:
    return Search(start)
