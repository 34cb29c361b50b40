"""Variants of treino: the drafts that it started from, and warm starts that mislead.

The drafts pause and promote by rank on fixed rungs. The warm starts know records of other images
than the task's, with the curves given to the wrong configurations.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from search.replay.simulation import Maker, Strategy, Task
from search.replay.strategies import Promoting, with_records
from search.scheduling.prior import shipped
from search.scheduling.rungs import ETA
from search.scheduling.samplers import make_chooser


def _fixed_rungs(first: int, sampler: str, task: Task, seed: int, *_: int) -> Strategy:
    steps = []
    while first < task.epochs:
        steps.append(first)
        first *= ETA
    steps.append(task.epochs)
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed, steps=steps)
    return Promoting(chooser, steps)


def _inverted(task: Task, seed: int, *_: int) -> Strategy:
    """Records in which the best configuration has the worst curve, and so on."""
    return _misled(task, seed, lambda count: np.arange(count)[::-1])


def _shuffled(task: Task, seed: int, *_: int) -> Strategy:
    """Records in which each configuration has another one's curve, by chance."""
    return _misled(task, seed, np.random.default_rng(seed).permutation)


def _misled(task: Task, seed: int, order: Callable[[int], np.ndarray]) -> Strategy:
    records = []
    for record in shipped(task.distributions, without=task.images):
        ranked = sorted(record.configurations, key=lambda curve: curve.filled(record.epochs)[-1])
        configurations = tuple(
            curve.model_copy(update={"params": ranked[row].params})
            for curve, row in zip(ranked, order(len(ranked)), strict=True)
        )
        records.append(record.model_copy(update={"configurations": configurations}))
    return with_records(records, task, seed)


MISLED: Mapping[str, Maker] = {
    "default-inverted-prior": _inverted,
    "default-shuffled-prior": _shuffled,
}
# The rungs in the names are for 52 epochs.
STRATEGIES: Mapping[str, Maker] = {
    "promote-random-from-1": partial(_fixed_rungs, 1, "random"),
    "promote-tpe-3-9-27-52": partial(_fixed_rungs, 3, "tpe"),
    **MISLED,
}
