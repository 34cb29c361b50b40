"""The drafts that treino started from: pause and promote by rank on fixed rungs."""

from collections.abc import Mapping
from functools import partial

from search.replay.simulation import Maker, Strategy, Task
from search.replay.strategies import Promoting
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


# The rungs in the names are for 52 epochs.
STRATEGIES: Mapping[str, Maker] = {
    "promote-random-from-1": partial(_fixed_rungs, 1, "random"),
    "promote-tpe-3-9-27-52": partial(_fixed_rungs, 3, "tpe"),
}
