"""Peers that need no package: baselines from the literature, pause and promote on fixed rungs."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.replay.strategies import Promoting
from search.scheduling.rungs import ETA
from search.scheduling.samplers import make_chooser
from search.spaces.unit_cube import UnitCube


class ThenBest:
    """Half the budget on short runs of random configurations, then the best of them in full.

    The best one resumes from its short run, then the second best, and so on. A strong baseline:
    Egele et al., Is One Epoch All You Need For Multi-Fidelity Hyperparameter
    Optimization?, 2023, arXiv 2307.15422.
    """

    knows_budget = True

    def __init__(self, task: Task, seed: int, budget: int, short: int) -> None:
        """Short runs of ``short`` epochs; ``budget`` epochs in total."""
        count = max(budget // 2 // short, 1)
        coordinates = UnitCube(task.distributions)
        points = coordinates.uniform(count, np.random.default_rng(seed))
        self._configs = [coordinates.params(point) for point in points]
        self._short = short
        self._begun = 0
        self._best: dict[int, float] = {}
        self._ranking: list[int] | None = None

    def work(self) -> ReplayJob | None:
        """The next short run; then the best configuration that has not resumed yet."""
        if self._begun < len(self._configs):
            self._begun += 1
            return ReplayJob(self._begun - 1, self._configs[self._begun - 1])
        if self._ranking is None:
            if len(self._best) < len(self._configs):
                return None
            self._ranking = sorted(self._best, key=lambda config: -self._best[config])
        if not self._ranking:
            return None
        config = self._ranking.pop()
        return ReplayJob(config, self._configs[config])

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """See Strategy."""
        if epoch == self._short:
            self._best[config] = loss
        return epoch != self._short


def _then_best(short: int, task: Task, seed: int, _workers: int, budget: int) -> Strategy:
    return ThenBest(task, seed, budget, short)


def _fixed_rungs(first: int, sampler: str, task: Task, seed: int, *_: int) -> Strategy:
    steps = []
    while first < task.epochs:
        steps.append(first)
        first *= ETA
    steps.append(task.epochs)
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed, steps=steps)
    return Promoting(chooser, steps)


# The rungs in the names are for 52 epochs.
STRATEGIES: Mapping[str, Maker] = {
    "one-epoch-then-best": partial(_then_best, 1),
    "three-epochs-then-best": partial(_then_best, 3),
    "promote-random-from-1": partial(_fixed_rungs, 1, "random"),
    "promote-tpe-3-9-27-52": partial(_fixed_rungs, 3, "tpe"),
}
