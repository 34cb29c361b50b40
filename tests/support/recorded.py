"""Made-up recorded curves, and a file of them."""

import json
import math
from typing import Any

import numpy as np
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from search.scheduling.curves import Curve, Curves
from search.spaces.unit_cube import UnitCube

RANGES = {
    "blocks": IntDistribution(2, 5),
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "kind": CategoricalDistribution(("adam", "sgd", "adamw")),
    "norm": CategoricalDistribution((True, False)),
}
EPOCHS = 6


def made(configurations: tuple[Curve, ...]) -> Curves:
    return Curves(
        data="images 5f1e",
        space="a space: ç",
        epochs=EPOCHS,
        seed=0,
        versions={"keras": "3"},
        distributions={
            name: json.loads(distribution_to_json(range_)) for name, range_ in RANGES.items()
        },
        configurations=configurations,
    )


def params(seed: int) -> dict[str, Any]:
    coordinates = UnitCube(RANGES)
    return coordinates.params(coordinates.uniform(1, np.random.default_rng(seed))[0])


def curve(seed: int) -> Curve:
    """Better the nearer the rate is to its upper end; some diverge, some stop early."""
    random = np.random.default_rng(seed)
    mine = params(seed)
    start = 0.5 - math.log(mine["rate"])
    ends = EPOCHS if seed % 4 else int(random.integers(1, EPOCHS + 1))
    losses = start + np.sort(random.random(ends))[::-1]
    return Curve(
        trial=seed,
        params=mine,
        val_loss=tuple(round(float(loss), 5) for loss in losses),
        val_accuracy=tuple(round(float(a), 5) for a in random.random(ends)),
        diverged=ends < EPOCHS and bool(seed % 8),
    )
