"""How true a replay on a few recorded curves is, by ways to answer for other configurations.

On LCBench, whose curves are known everywhere: 60 configurations are recorded, 400 others asked for;
and ROWS recorded, as many asked for.

    python -m benchmarks.tabular LCBENCH_FOLDER

Prints, first, for each of these, a row a way, means over the tasks and two draws:

    rank     Spearman's correlation of the answered with the true lowest loss
    spread   standard deviation of the logarithm of the lowest losses, over the true one
    good     share of configurations as good as the best tenth of the recorded ones; the last row,
             ``truth``, has the true share
    early    correlation of the loss after epoch 3 with the lowest one, less the true correlation

Then what ways to search come to, by budget: on LCBench itself; on ROWS recorded configurations, as
treino answers for others; on the same, each curve given once in a search to who is most like it;
and on the same, each given to all that are.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import distribution_to_json
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.peers import GROUPS
from search.replay.comparison import compare, printed
from search.replay.lcbench import EPOCHS, TASKS, LCBenchTask
from search.replay.simulation import Task
from search.replay.tabular import TREES, TabularTask
from search.scheduling.curves import Curve, Curves
from search.spaces.unit_cube import Array, Params, UnitCube
from search.workers.hardware import cores

DRAWS, EARLY, NEIGHBOURS = 2, 3, 5
ROWS = 168  # as many as search/scheduling/priors/cifar10.json has
SIZES = ((60, 400), (ROWS, ROWS))  # recorded, asked for
SEARCHES = (
    *("default", "promote-random", "three-epochs-then-best"),
    *("optuna-random-halving", "optuna-tpe-hyperband", "random"),
)


def nearest(points: Array, curves: Array, elsewhere: Array) -> Array:
    """The curve of the nearest recorded configuration."""
    picked: Array = curves[_distances(points, elsewhere).argmin(axis=1)]
    return picked


def neighbours(points: Array, curves: Array, elsewhere: Array) -> Array:
    """The mean curve of the nearest five, weighted by the inverse of the squared distance."""
    distances = _distances(points, elsewhere)
    near = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    weights = 1 / (np.take_along_axis(distances, near, axis=1) + 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    mean: Array = (weights[..., None] * curves[near]).sum(axis=1)
    return mean


def forest_mean(points: Array, curves: Array, elsewhere: Array) -> Array:
    """What a forest of extremely randomised trees predicts: a mean of recorded curves."""
    means: Array = ExtraTreesRegressor(TREES, random_state=0).fit(points, curves).predict(elsewhere)
    return means


WAYS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "nearest": nearest,
    "5 nearest, mean": neighbours,
    "forest, mean": forest_mean,
}


def measure(
    task: LCBenchTask, seed: int, rows: int, others: int
) -> dict[str, tuple[float, float, float, float]]:
    """The four figures of each way on one task, with so many recorded and others asked for."""
    configurations, features, curves = _drawn(task, rows + others, seed)
    points, elsewhere = features[:rows], features[rows:]
    recorded, truth = curves[:rows], curves[rows:]
    answers = {name: way(points, recorded, elsewhere) for name, way in WAYS.items()}
    for name, kind in TABLES.items():
        table = kind(_recorded(task, configurations[:rows], recorded), task.name)
        curve = table.curves()
        answers[name] = np.array([curve(params) for params in configurations[rows:]])
    good = np.quantile(recorded.min(axis=1), 0.1)

    def figures(answers_of: Array) -> tuple[float, float, float, float]:
        lowest, true = answers_of.min(axis=1), truth.min(axis=1)
        return (
            float(spearmanr(lowest, true)[0]),
            float(np.log(lowest).std() / np.log(true).std()),
            float(np.mean(lowest <= good)),
            float(spearmanr(answers_of[:, EARLY - 1], lowest)[0])
            - float(spearmanr(truth[:, EARLY - 1], true)[0]),
        )

    return {name: figures(answers_of) for name, answers_of in [*answers.items(), ("truth", truth)]}


class Once(TabularTask):
    """A table whose curves are given as they are, each once in a search."""

    def curves(self) -> Callable[[Params], Array]:
        """The most similar one's that is still there."""
        rows_of: dict[frozenset[tuple[str, Any]], int] = {}

        def curve(params: Params) -> Array:
            key = frozenset(params.items())
            if key not in rows_of:
                likeness = self.likeness(params)
                if len(rows_of) < len(self._table):
                    likeness[list(rows_of.values())] = -1
                rows_of[key] = int(likeness.argmax())
            losses: Array = self._table[rows_of[key]]
            return losses

        return curve


class Shared(TabularTask):
    """A table whose curves are given as often as they are asked for."""

    def curves(self) -> Callable[[Params], Array]:
        """The most similar one's, whatever was asked before."""
        return lambda params: self._table[int(self.likeness(params).argmax())]


TABLES = {"forest, one": Shared, "forest, each once": Once, "forest, luck": TabularTask}


def recorded_task(folder: Path, name: str, kind: type[TabularTask]) -> TabularTask:
    """A task of LCBench as it looks when ROWS of its configurations are recorded."""
    task = LCBenchTask(folder, name)
    configurations, _, curves = _drawn(task, ROWS, 0)
    return kind(_recorded(task, configurations, curves), name)


def searched(folder: Path) -> None:
    """Print what ways to search come to, on LCBench and on tables of it."""
    made: dict[str, Callable[[str], Callable[[], Task]]] = {
        "LCBench": lambda name: partial(LCBenchTask, folder, name),
        "with luck": lambda name: partial(recorded_task, folder, name, TabularTask),
        "each once": lambda name: partial(recorded_task, folder, name, Once),
        "shared": lambda name: partial(recorded_task, folder, name, Shared),
    }
    strategies = {name: GROUPS["all"][name] for name in SEARCHES}
    for title, make in made.items():
        results = compare(
            [make(name) for name in TASKS], strategies, seeds=DRAWS, workers=1, processes=cores()
        )
        print(f"\n{title}\n{printed(results, as_json=False)}", flush=True)


def main(folder: Path) -> None:
    """Measure on all tasks, and print the tables."""
    tasks = [LCBenchTask(folder, name) for name in TASKS]
    for rows, others in SIZES:
        measurements = [
            measure(task, seed, rows, others) for task in tasks for seed in range(DRAWS)
        ]
        print(f"{f'{rows}, {others} asked':18}{'rank':>8}{'spread':>8}{'good':>8}{'early':>8}")
        for name in measurements[0]:
            means = np.mean([figures[name] for figures in measurements], axis=0)
            print(f"{name:18}" + "".join(f"{mean:8.3f}" for mean in means))
    searched(folder)


def _drawn(task: LCBenchTask, count: int, seed: int) -> tuple[list[dict[str, Any]], Array, Array]:
    """Random configurations, their features (count, features) and curves (count, epochs)."""
    coordinates = UnitCube(task.distributions)
    points = coordinates.uniform(count, np.random.default_rng(seed))
    configurations = [coordinates.params(point) for point in points]
    curves = np.array([task.curve(params) for params in configurations])
    return configurations, coordinates.features(points), curves


def _recorded(task: LCBenchTask, configurations: list[dict[str, Any]], curves: Array) -> Curves:
    return Curves(
        data=task.name,
        space="LCBench",
        epochs=EPOCHS,
        seed=0,
        versions={},
        distributions={
            name: json.loads(distribution_to_json(range_))
            for name, range_ in task.distributions.items()
        },
        configurations=tuple(
            Curve(
                trial=number,
                params=params,
                val_loss=tuple(float(loss) for loss in curve),
                val_accuracy=(0.0,) * EPOCHS,
            )
            for number, (params, curve) in enumerate(zip(configurations, curves, strict=True))
        ),
    )


def _distances(points: Array, elsewhere: Array) -> Array:
    return np.asarray(((elsewhere[:, None] - points[None]) ** 2).sum(axis=-1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
