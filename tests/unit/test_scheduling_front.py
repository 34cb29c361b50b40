"""The front of loss and size: against enumeration, and against Monte Carlo."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtri

from search.scheduling.front import Front, knee, on_front
from search.spaces.unit_cube import Array

UNIT = st.floats(0, 1, width=16)
POINTS = st.lists(st.tuples(UNIT, UNIT), max_size=12).map(
    lambda p: np.reshape(np.array(p), (-1, 2))
)
REFERENCE = (0.9, 1.1)
DRAWS = 4000  # evenly spaced quantiles: Monte Carlo without chance


def area(points: Array) -> float:
    """The area that points dominate below the reference, cell by cell."""
    inside = [(x, y) for x, y in points.tolist() if x < REFERENCE[0] and y < REFERENCE[1]]
    across = sorted({x for x, _ in inside} | {REFERENCE[0]})
    up = sorted({y for _, y in inside} | {REFERENCE[1]})
    return sum(
        (across[i + 1] - across[i]) * (up[j + 1] - up[j])
        for i in range(len(across) - 1)
        for j in range(len(up) - 1)
        if any(x <= across[i] and y <= up[j] for x, y in inside)
    )


@given(points=POINTS)
def test_the_front_is_what_nothing_else_dominates(points: Array) -> None:
    rows = on_front(points[:, 0].tolist(), points[:, 1].tolist())
    kept = {tuple(points[row]) for row in rows}
    assert len(kept) == len(rows)
    assert kept == {
        tuple(p) for p in points if not any(np.all(q <= p) and np.any(q < p) for q in points)
    }
    assert np.all(np.diff(points[rows, 1]) > 0)
    assert np.all(np.diff(points[rows, 0]) < 0)


def test_what_has_no_loss_is_on_no_front() -> None:
    assert on_front([math.inf, 2.0, math.nan, 1.0], [1, 2, 3, math.inf]) == [1]


@given(points=POINTS, other=st.tuples(UNIT, UNIT))
def test_the_hypervolume_is_the_area_that_the_points_dominate(
    points: Array, other: tuple[float, float]
) -> None:
    front = Front.of(points[:, 0], points[:, 1], REFERENCE)
    assert front.hypervolume == pytest.approx(area(points))
    gain = front.improvement(np.array(other[:1]), np.array(other[1:]))
    assert gain[0] == pytest.approx(area(np.vstack([points, other])) - area(points))
    losses = [x for x, y in points.tolist() if y <= other[1] and y < REFERENCE[1]]
    assert front.level(np.array(other[1:]))[0] == min([REFERENCE[0], *losses])


@given(
    points=POINTS,
    mean=st.floats(-1, 2),
    deviation=st.floats(0.01, 1),
    size=st.floats(0, 1.2),
)
def test_the_expected_improvement_is_that_of_many_draws(
    points: Array, mean: float, deviation: float, size: float
) -> None:
    front = Front.of(points[:, 0], points[:, 1], REFERENCE)
    log = front.log_expected_improvement(np.array([mean]), np.array([deviation]), np.array([size]))
    draws = mean + deviation * ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
    drawn = front.improvement(draws, np.full(DRAWS, size))
    assert np.exp(log[0]) == pytest.approx(drawn.mean(), abs=2e-3 * deviation)


@given(
    front=arrays(np.float64, 3, elements=st.floats(0.1, 0.9), unique=True),
    sizes=arrays(np.float64, 3, elements=st.floats(10, 1e6), unique=True),
)
def test_the_knee_is_below_the_line_between_the_ends(front: Array, sizes: Array) -> None:
    losses, sizes = np.sort(front)[::-1], np.sort(sizes)
    x = math.log(sizes[1] / sizes[0]) / math.log(sizes[2] / sizes[0])
    y = (losses[1] - losses[2]) / (losses[0] - losses[2])
    found = knee(losses.tolist(), sizes.tolist())
    if abs(x + y - 1) > 1e-9:
        assert found == (1 if x + y < 1 else None)


def test_the_knee_is_the_furthest_point() -> None:
    assert knee([0.9, 0.6, 0.3, 0.29], [1e3, 1e4, 1e5, 1e6]) == 2
    assert knee([0.9, 0.3], [1e3, 1e6]) is None
