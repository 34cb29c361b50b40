"""Learning curves of LCBench's other tasks, for strategies that learn from earlier searches.

Each task lends the full curves of the same random configurations, because one of the peers needs
the same ones. No task sees curves of its own.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from optuna.distributions import distribution_to_json

from search.replay.lcbench import LCBenchTask
from search.replay.simulation import Strategy, Task
from search.replay.strategies import with_records
from search.scheduling.curves import Curve, Curves
from search.spaces.unit_cube import UnitCube

RECORDED = 60  # configurations of each task
SEED = 1  # of these configurations: the task's own best and middle are of seed 0


def of_other_tasks(folder: Path, names: Sequence[str], task: Task) -> list[Curves]:
    """The curves of those of the named tasks that are not ``task``.

    Args:
        folder: LCBench's surrogate.
        names: The tasks that lend their curves.
        task: The task to search on.
    """
    return [_recorded(folder, name) for name in names if name != task.name]


def informed(
    folder: Path, names: tuple[str, ...], task: Task, seed: int, _workers: int, _budget: int
) -> Strategy:
    """The default of treino, warm started with the curves of the other tasks."""
    return with_records(of_other_tasks(folder, names, task), task, seed)


@cache
def _recorded(folder: Path, name: str) -> Curves:
    task = LCBenchTask(folder, name)
    cube = UnitCube(task.distributions)
    points = cube.uniform(RECORDED, np.random.default_rng(SEED))
    configurations = []
    for number, point in enumerate(points):
        params = cube.params(point)
        losses = tuple(map(float, task.curve(params)))
        # A replay is of losses alone.
        configurations.append(
            Curve(trial=number, params=params, val_loss=losses, val_accuracy=(0.0,) * len(losses))
        )
    return Curves(
        data=f"LCBench {name}",
        space="LCBench",
        epochs=task.epochs,
        seed=SEED,
        versions={},
        distributions={
            n: json.loads(distribution_to_json(d)) for n, d in task.distributions.items()
        },
        configurations=tuple(configurations),
    )
