"""Configurations as points: there and back, and what a model sees of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import UnitCube

SPACES: dict[str, Mapping[str, BaseDistribution]] = {
    "documents": Documents(TrainingDefaults(epochs=20), 32).distributions(),
    "odd": {
        "one": IntDistribution(3, 3),
        "steps": IntDistribution(0, 12, step=4),
        "log": IntDistribution(1, 1000, log=True),
        "stepped": FloatDistribution(-1.0, 1.0, step=0.25),
        "colour": CategoricalDistribution(("red", "green", "blue")),
        "only": CategoricalDistribution((7,)),
    },
}


def contains(distribution: BaseDistribution, value: Any) -> bool:
    return distribution._contains(distribution.to_internal_repr(value))


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_a_point_is_a_configuration_of_the_space_and_leads_back_to_itself(
    name: str, data: st.DataObject
) -> None:
    space = SPACES[name]
    coordinates = UnitCube(space)
    unit = st.floats(0.0, 1.0)
    point = np.array(data.draw(st.lists(unit, min_size=len(space), max_size=len(space))))
    params = coordinates.params(point)
    assert all(contains(space[key], value) for key, value in params.items())
    again = coordinates.params(coordinates.of(params))
    for key, value in params.items():
        assert again[key] == (pytest.approx(value) if isinstance(value, float) else value)
        assert type(again[key]) is type(value)
    of_itself = coordinates.features(coordinates.of(params)[None, :])
    np.testing.assert_allclose(coordinates.features(point[None, :]), of_itself, atol=1e-9)
    assert of_itself.shape == (1, coordinates.feature_count)
    both = np.stack([point, coordinates.of(params)])
    assert len(np.unique(coordinates.steps(both), axis=0)) == 1


@pytest.mark.parametrize("name", SPACES)
def test_the_ends_of_the_cube_are_the_ends_of_its_ranges(name: str) -> None:
    coordinates = UnitCube(SPACES[name])
    ends = np.array([np.zeros(len(coordinates)), np.ones(len(coordinates))])
    steps = coordinates.steps(
        np.vstack([ends, *(coordinates.of(coordinates.params(e)) for e in ends)])
    )
    assert (steps[:2] == steps[2:]).all()


def test_numbers_lie_in_order_and_choices_without_order_equally_far_apart() -> None:
    coordinates = UnitCube(SPACES["odd"])
    base = {"one": 3, "steps": 4, "log": 10, "stepped": 0.0, "colour": "red", "only": 7}

    def features(**changes: Any) -> np.ndarray:
        return coordinates.features(coordinates.of({**base, **changes})[None, :])[0]

    far = [np.linalg.norm(features(colour=c) - features()) for c in ("green", "blue")]
    np.testing.assert_allclose(far, 1.0)
    steps = [features(steps=n)[1] for n in (0, 4, 8, 12)]
    np.testing.assert_allclose(np.diff(steps), 0.25)
    assert features(log=1)[2] < features(log=10)[2] < features(log=1000)[2] <= 1.0


def test_numbers_to_choose_from_lie_in_order_however_they_were_given() -> None:
    coordinates = UnitCube({"batch": CategoricalDistribution((256, 32, 128))})
    places = [coordinates.of({"batch": n})[0] for n in (32, 128, 256)]
    assert places == sorted(places)
    assert coordinates.feature_count == 1


def test_neighbours_stay_in_the_cube_and_are_mostly_near() -> None:
    coordinates = UnitCube(SPACES["documents"])
    random = np.random.default_rng(0)
    point = coordinates.uniform(1, random)[0]
    near = coordinates.near(point, 500, random)
    assert near.min() >= 0.0
    assert near.max() <= 1.0
    assert 0.3 < (near == point).mean() < 0.6
    assert np.abs(near - point).mean() < np.abs(coordinates.uniform(500, random) - point).mean() / 2


def test_from_a_point_each_number_goes_to_both_ends_of_its_range() -> None:
    coordinates = UnitCube(SPACES["odd"])
    start = {"one": 3, "steps": 4, "log": 10, "stepped": 0.5, "colour": "green", "only": 7}
    found = [coordinates.params(p) for p in coordinates.at_ends(coordinates.of(start))]
    ends = [("steps", 0), ("steps", 12), ("log", 1), ("log", 1000), ("stepped", -1.0)]
    expected = [{**start, name: end} for name, end in [*ends, ("stepped", 1.0)]]
    as_they_are = [params for params in found if params not in expected]
    assert [params for params in found if params in expected] == expected
    assert all(params == {**start, "log": pytest.approx(10)} for params in as_they_are)


def test_a_parameter_that_a_configuration_lacks_is_in_the_middle() -> None:
    coordinates = UnitCube(SPACES["documents"])
    assert set(coordinates.of({})) == {0.5}
