"""How true a replay on a few recorded curves is, by ways to answer for other configurations.

On LCBench, whose curves are known everywhere: 60 configurations are recorded, 400 others asked for.

    python -m benchmarks.tabular LCBENCH_FOLDER

Prints a row a way, means over the tasks and two draws:

    rank     Spearman's correlation of the answered with the true lowest loss
    spread   standard deviation of the logarithm of the lowest losses, over the true one
    good     share of configurations as good as the best tenth of the recorded ones; the last row,
             ``truth``, has the true share
    early    correlation of the loss after epoch 3 with the lowest one, less the true correlation
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from optuna.distributions import distribution_to_json
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from search.coordinates import Array, Coordinates
from search.curves import Curve, Curves
from search.lcbench import EPOCHS, TASKS, LCBenchTask
from search.tabular import TREES, TabularTask

RECORDED, ASKED, DRAWS, EARLY, NEIGHBOURS = 60, 400, 2, 3, 5


def nearest(known: Array, curves: Array, asked: Array) -> Array:
    """The curve of the nearest recorded configuration."""
    return curves[_distances(known, asked).argmin(axis=1)]


def neighbours(known: Array, curves: Array, asked: Array) -> Array:
    """The mean curve of the nearest five, weighted by the inverse of the squared distance."""
    distances = _distances(known, asked)
    near = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    weights = 1 / (np.take_along_axis(distances, near, axis=1) + 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights[..., None] * curves[near]).sum(axis=1)


def forest_mean(known: Array, curves: Array, asked: Array) -> Array:
    """What a forest of extremely randomised trees predicts: a mean of recorded curves."""
    found: Array = ExtraTreesRegressor(TREES, random_state=0).fit(known, curves).predict(asked)
    return found


WAYS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "nearest": nearest,
    "5 nearest, mean": neighbours,
    "forest, mean": forest_mean,
}


def measure(task: LCBenchTask, seed: int) -> dict[str, tuple[float, float, float, float]]:
    """The four figures of each way on one task."""
    coordinates = Coordinates(task.distributions)
    points = coordinates.uniform(RECORDED + ASKED, np.random.default_rng(seed))
    configurations = [coordinates.params(point) for point in points]
    curves = np.array([task.curve(params) for params in configurations])
    features = coordinates.features(points)
    known, asked = features[:RECORDED], features[RECORDED:]
    recorded, truth = curves[:RECORDED], curves[RECORDED:]
    answers = {name: way(known, recorded, asked) for name, way in WAYS.items()}
    table = TabularTask(_recorded(task, configurations[:RECORDED], recorded), task.name)
    answers["forest, one"] = np.array([table.curve(p) for p in configurations[RECORDED:]])
    good = np.quantile(recorded.min(axis=1), 0.1)

    def figures(found: Array) -> tuple[float, float, float, float]:
        lowest, true = found.min(axis=1), truth.min(axis=1)
        return (
            float(spearmanr(lowest, true)[0]),
            float(np.log(lowest).std() / np.log(true).std()),
            float(np.mean(lowest <= good)),
            float(spearmanr(found[:, EARLY - 1], lowest)[0])
            - float(spearmanr(truth[:, EARLY - 1], true)[0]),
        )

    return {name: figures(found) for name, found in [*answers.items(), ("truth", truth)]}


def main(folder: Path) -> None:
    """Measure on all tasks, and print the table."""
    found = [measure(LCBenchTask(folder, name), seed) for name in TASKS for seed in range(DRAWS)]
    print(f"{'':16}{'rank':>8}{'spread':>8}{'good':>8}{'early':>8}")
    for name in found[0]:
        means = np.mean([figures[name] for figures in found], axis=0)
        print(f"{name:16}" + "".join(f"{mean:8.3f}" for mean in means))


def _recorded(task: LCBenchTask, configurations: list[dict], curves: Array) -> Curves:
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


def _distances(known: Array, asked: Array) -> Array:
    return np.asarray(((asked[:, None] - known[None]) ** 2).sum(axis=-1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
