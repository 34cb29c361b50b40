"""A small task for replays, and a strategy whose every move is checked."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.replay.simulation import Epoch, Maker, ReplayJob, simulate
from search.spaces.unit_cube import Array, Params

EPOCHS = 9
LCBENCH = next(
    (model.parent for model in Path(__file__).parents[3].glob("*/lcbench/model.onnx")), None
)
"""LCBench's surrogate, in a folder beside the checkout; None if it is not there."""


class FallingCurves:
    """Losses that fall to a floor, lowest at rate 0.01, with a number, a choice and a size."""

    name = "curves"
    images = ""
    epochs = EPOCHS
    distributions: Mapping[str, BaseDistribution]
    best, middle = 0.5, 1.5

    def __init__(self) -> None:
        self.distributions = {
            "rate": FloatDistribution(1e-4, 1.0, log=True),
            "size": IntDistribution(16, 512, log=True),
            "layers": IntDistribution(1, 5),
            "norm": CategoricalDistribution((True, False)),
        }

    def curves(self) -> Callable[[Params], Array]:
        return self.curve

    def curve(self, params: Params) -> Array:
        off = math.log10(params["rate"] / 0.01) ** 2 + abs(params["layers"] - 3) / 5
        floor = 0.5 + off + 0.2 * params["norm"] + 8 / params["size"]
        losses: Array = floor + 2.0 * np.exp(-np.arange(1, EPOCHS + 1) / 3)
        return losses


class SizedCurves(FallingCurves):
    """The same, as a task of two objectives."""

    def size(self, params: Params) -> float:
        return math.log(params["size"] / 16) / math.log(512 / 16)


class WatchedStrategy:
    """A strategy whose every move is checked."""

    def __init__(
        self,
        maker: Maker,
        seed: int,
        workers: int,
        budget: int,
        kind: type[FallingCurves] = FallingCurves,
    ) -> None:
        self.task = kind()
        self._strategy = maker(self.task, seed, workers, budget)
        self.knows_budget = self._strategy.knows_budget
        self._running: set[int] = set()
        self._params: dict[int, Params] = {}
        self.epochs: dict[int, int] = {}
        self.workers = 0

    def work(self) -> ReplayJob | None:
        work = self._strategy.work()
        if work is None:
            return None
        assert work.config not in self._running
        assert work.config <= len(self._params)
        assert self._params.setdefault(work.config, dict(work.params)) == work.params
        assert work.params.keys() == self.task.distributions.keys()
        for name, d in self.task.distributions.items():
            if isinstance(d, CategoricalDistribution):
                assert work.params[name] in d.choices
                assert type(work.params[name]) is bool
            else:
                assert isinstance(d, IntDistribution | FloatDistribution)
                assert d.low <= work.params[name] <= d.high
                assert isinstance(work.params[name], int) or isinstance(d, FloatDistribution)
        if work.restart:
            self.epochs[work.config] = 0
        assert self.epochs.get(work.config, 0) < self.task.epochs
        self._running.add(work.config)
        self.workers = max(self.workers, len(self._running))
        return work

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        self.epochs[config] = self.epochs.get(config, 0) + 1
        assert epoch == self.epochs[config] <= self.task.epochs
        goes_on = self._strategy.epoch(config, epoch, loss)
        if not goes_on or epoch == self.task.epochs:
            self._running.discard(config)
        return goes_on


def searched(
    maker: Maker,
    *,
    seed: int,
    workers: int,
    budget: int = 60,
    kind: type[FallingCurves] = FallingCurves,
) -> list[Epoch]:
    """A search of a strategy, which uses all workers, spends its budget and repeats little."""
    strategy = WatchedStrategy(maker, seed, workers, budget, kind)
    epochs = simulate(strategy.task, strategy, workers, budget)
    assert len(epochs) == budget
    assert strategy.workers == workers
    assert len({tuple(epoch.params.items()) for epoch in epochs}) >= budget // EPOCHS
    return epochs


def lengths(
    maker: Maker, budget: int = 400, kind: type[FallingCurves] = FallingCurves
) -> list[int]:
    """How far a strategy trained each configuration; the last may be under way."""
    strategy = WatchedStrategy(maker, 0, 1, budget, kind)
    simulate(strategy.task, strategy, 1, budget)
    return list(strategy.epochs.values())
