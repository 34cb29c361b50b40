"""What a front on recorded curves comes to: against the area that its points dominate."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import hypervolume as bench
from benchmarks.fronts import SIZES, SizedTable, hypervolume
from models.spec import ModelSpec, count_parameters
from search.errors import SettingsError, TreinoError
from search.replay.simulation import Epoch
from search.scheduling import curves, prior
from search.spaces.unit_cube import UnitCube
from tests.support.recorded import curve, made

CELLS = 200  # across and up


@cache
def table(measure: str = "parameters") -> SizedTable:
    recorded = curves.read(prior.SHIPPED / "cifar10-two.json")
    return SizedTable(recorded, "two", measure, 16, 2)


def epochs_of(draws: list[tuple[int, float]]) -> list[Epoch]:
    """Epochs of a few configurations, with regrets."""
    task = table()
    points = UnitCube(task.distributions).uniform(8, np.random.default_rng(0))
    configurations = [UnitCube(task.distributions).params(point) for point in points]
    losses = [task.best + regret * (task.middle - task.best) for _, regret in draws]
    return [
        Epoch(configurations[row], loss, loss) for (row, _), loss in zip(draws, losses, strict=True)
    ]


def area(epochs: list[Epoch]) -> float:
    """Share of the unit square that the epochs dominate, cell by cell."""
    task = table()
    middles = (np.arange(CELLS) + 0.5) / CELLS
    below = np.zeros((CELLS, CELLS), dtype=bool)
    for epoch in epochs:
        regret = (epoch.loss - task.best) / (task.middle - task.best)
        below |= (middles[:, None] >= regret) & (middles >= task.size(epoch.params))
    return float(below.mean())


DRAWS = st.lists(st.tuples(st.integers(0, 7), st.floats(0, 1.5) | st.just(math.inf)), max_size=12)


@given(draws=DRAWS)
def test_the_hypervolume_is_the_area_that_all_epochs_dominate(
    draws: list[tuple[int, float]],
) -> None:
    epochs = epochs_of(draws)
    assert hypervolume(table(), epochs) == pytest.approx(area(epochs), abs=2 * 12 / CELLS)
    assert hypervolume(table(), epochs) == hypervolume(table(), epochs[::-1])


@given(draws=DRAWS, more=DRAWS)
def test_more_epochs_take_nothing_away(
    draws: list[tuple[int, float]], more: list[tuple[int, float]]
) -> None:
    before, after = epochs_of(draws), epochs_of(draws + more)
    assert hypervolume(table(), before) <= hypervolume(table(), after) + 1e-12


def test_a_loss_below_the_recorded_best_counts_more() -> None:
    task = table()
    least = min(task.size(epoch.params) for epoch in epochs_of([(row, 0) for row in range(8)]))
    assert hypervolume(task, epochs_of([(row, 0.0) for row in range(8)])) == 1 - least
    assert hypervolume(task, epochs_of([(row, -1.0) for row in range(8)])) == 2 * (1 - least)


@pytest.mark.parametrize("measure", SIZES)
def test_sizes_are_logarithms_of_what_a_search_counts(measure: str) -> None:
    task = table(measure)
    points = UnitCube(task.distributions).uniform(300, np.random.default_rng(1))
    configurations = [UnitCube(task.distributions).params(point) for point in points]
    sizes = np.array([task.size(params) for params in configurations])
    assert sizes.min() == 0
    assert sizes.max() == 1
    logs = np.log(task.room.sizes.of(points, measure))
    assert np.ptp(logs) * sizes == pytest.approx(logs - logs.min())
    if measure == "parameters":
        models = [task.room._space.specs(params)[0] for params in configurations]
        counts = [count_parameters(m, (16, 16, 3), 2) for m in models if isinstance(m, ModelSpec)]
        assert np.exp(logs) == pytest.approx(counts)


def test_what_was_recorded_has_a_hypervolume() -> None:
    assert 0.9 < table().recorded < 1


def test_curves_of_another_space_are_refused() -> None:
    recorded = made(tuple(curve(seed) for seed in range(12)))
    with pytest.raises(TreinoError, match="images: expected curves of the documents space on "):
        SizedTable(recorded, "images", "parameters", 16, 10)


def test_strategies_by_name() -> None:
    strategies, left_out = bench.chosen("random,default")
    assert list(strategies) == ["random", "default"]
    assert not left_out
    with pytest.raises(SettingsError, match=r"'tpe'.*optuna-tpe"):
        bench.chosen("random,tpe")
