"""KerasTuner's calls on a trial: the ranges they mean, and the values they return."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from models.own_ranges import Choice, Range, Real, Whole, real, whole
from models.own_trial import OwnTrial, explore, given


def first(name: str, asked: Range, before: object) -> Any:
    """The first value of a range."""
    return asked.ends()[0]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda hp: hp.Int("n", 1, 5), Whole(low=1, high=5)),
        (
            lambda hp: hp.Int("n", min_value=32, max_value=100, step=32),
            Whole(low=32, high=96, step=32),
        ),
        (lambda hp: hp.Int("n", 8, 512, sampling="log"), Whole(low=8, high=512, log=True)),
        (lambda hp: hp.Int("n", 2, 32, step=2, sampling="log"), Choice(choices=(2, 4, 8, 16, 32))),
        (lambda hp: hp.Int("n", 1, 9, sampling="reverse_log"), Whole(low=1, high=9)),
        (lambda hp: hp.Int("n", 16.0, 32.0), Whole(low=16, high=32)),
        (lambda hp: hp.Float("n", 0, 0.5, step=0.1), Real(low=0.0, high=0.5, step=0.1)),
        (lambda hp: hp.Float("n", 1e-4, 1e-2, sampling="LOG"), Real(low=1e-4, high=1e-2, log=True)),
        (lambda hp: hp.Float("n", 1, 8, 2, "log"), Choice(choices=(1.0, 2.0, 4.0, 8.0))),
        (lambda hp: hp.Float("n", 1, 8, 2, "reverse_log"), Choice(choices=(8.0, 7.0, 5.0, 1.0))),
        (lambda hp: hp.Choice("n", values=["a", "b"], ordered=False), Choice(choices=("a", "b"))),
        (lambda hp: hp.Boolean("n"), Choice(choices=(False, True))),
        (lambda hp: hp.suggest_loguniform("n", 0.1, 1), Real(low=0.1, high=1.0, log=True)),
        (lambda hp: hp.suggest_uniform("n", 0, 1), Real(low=0.0, high=1.0)),
        (lambda hp: hp.suggest_discrete_uniform("n", 0, 1, 0.5), Real(low=0.0, high=1.0, step=0.5)),
    ],
)
def test_a_call_asks_for_its_range(call: Callable[[OwnTrial], Any], expected: Range) -> None:
    trial = OwnTrial(first)
    assert call(trial) == expected.ends()[0]
    assert trial.ranges == {"n": expected}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda hp: hp.Int("n", 5, 1), "'n': low 5 is more than high 1"),
        (lambda hp: hp.Int("n", 0.5, 1), "'n': expected a whole number, not 0.5"),
        (lambda hp: hp.Int("n", 1, 8, step=1, sampling="log"), "a step of more than 1, a factor"),
        (lambda hp: hp.Float("n", 0, 1, sampling="log"), "a logarithmic range starts above 0"),
        (lambda hp: hp.Float("n", 0, 1, sampling="normal"), "'n': sampling 'normal': expected"),
        (lambda hp: hp.Choice("n", [1, 2], default=3), "'n': default 3 is not one of [1, 2]"),
        (lambda hp: hp.conditional_scope("m", [1]).__enter__(), "m is not defined"),
        (lambda hp: [hp.Int("n", 1, 1 + hp.Int("m", 1, 2))], "a range may not depend on other"),
    ],
)
def test_what_is_no_range_is_refused(call: Callable[[OwnTrial], Any], said: str) -> None:
    with pytest.raises(ValueError, match=r".*") as caught:
        explore(lambda trial: [call(trial)].clear())
    assert said in str(caught.value)


def test_values_are_looked_up_by_name() -> None:
    hp = given({"units": 64, "block/units": 3})
    assert hp.Int("units", 32, 512, step=32) == hp.get("units") == hp["units"] == 64
    assert hp.Fixed("depth", 2) == hp.get("depth") == 2
    with hp.name_scope("block"):
        assert hp.Int("units", 1, 5) == hp.get("units") == 3
    assert hp.values == {"units": 64, "depth": 2, "block/units": 3}
    assert hp.params == {"units": 64, "block/units": 3}  # what is fixed is not searched
    assert "units" in hp
    assert "width" not in hp
    with pytest.raises(KeyError, match="width does not exist"):
        hp.get("width")


def test_a_name_that_is_asked_for_again_returns_its_first_value() -> None:
    hp = given({"units": 64})
    assert hp.Int("units", 32, 512, step=32) == hp.Int("units", 1, 8) == 64


def test_a_parameter_of_an_inactive_scope_is_none_and_is_found_all_the_same() -> None:
    seen: list[tuple[str, Any, Any]] = []

    def function(hp: OwnTrial) -> None:
        kind = hp.Choice("kind", ["flat", "deep"])
        with hp.conditional_scope("kind", ["deep"]):
            depth = hp.Int("depth", 1, 3)
            with hp.conditional_scope("depth", 3):
                hp.Boolean("skip")
        width = hp.Int("width", 4, 8, parent_name="kind", parent_values="flat")
        if depth is None:
            with pytest.raises(ValueError, match="depth is currently inactive"):
                hp.get("depth")
        assert hp.is_active("depth") == (kind == "deep")
        seen.append((kind, depth, width))

    assert set(explore(function)) == {"kind", "depth", "skip", "width"}
    for kind, depth, width in seen:
        assert (depth is None) == (kind == "flat") == (width is not None)


def test_defaults_are_kept_as_values_of_their_ranges() -> None:
    hp = OwnTrial(first)
    hp.Int("units", 32, 512, step=32, default=100)
    hp.Float("rate", 1e-4, 1e-2, sampling="log", default=1.0)
    hp.Int("size", 2, 32, step=2, sampling="log", default=9)
    hp.Boolean("norm", default=True)
    hp.Choice("kind", ["a", "b"], default="b")
    hp.Choice("none", ["a", "b"])
    assert hp.defaults == {"units": 96, "rate": 0.01, "size": 8, "norm": True, "kind": "b"}


def test_a_copy_answers_with_defaults_and_searches_nothing() -> None:
    hp = given({"units": 64})
    hp.Int("units", 32, 512)
    copy = hp.copy()
    assert [copy.get("units"), copy.Int("more", 1, 9), copy.Boolean("norm", default=True)] == [
        *(64, 1, True)
    ]
    assert set(hp.ranges) == {"units"}


def test_what_a_function_sets_on_its_trial_is_kept_if_it_can_be_stored() -> None:
    trial = given({}, number=7)
    assert trial.number == 7
    trial.set_user_attr("sizes", (1, 2))
    assert trial.user_attrs == {"sizes": [1, 2]}
    with pytest.raises(TypeError):
        trial.set_user_attr("trial", trial)


ENDS = st.tuples(st.integers(-50, 50), st.integers(0, 100), st.integers(1, 20))


@drawn(ENDS, st.integers(-200, 200))
def test_the_nearest_integer_of_a_range_is_one_of_its_values(
    ends: tuple[int, int, int], value: int
) -> None:
    low, more, step = ends
    asked = whole("n", low, low + more, step)
    values = range(asked.low, asked.high + 1, step)
    nearest = asked.nearest(value)
    assert isinstance(nearest, int)
    assert nearest in values
    assert abs(nearest - value) == min(abs(each - value) for each in values)


@drawn(ENDS, st.floats(-200, 200))
def test_the_nearest_number_of_a_range_lies_in_it(ends: tuple[int, int, int], value: float) -> None:
    low, more, step = ends
    asked = real("n", low / 10, (low + more) / 10, step / 10)
    nearest = asked.nearest(value)
    assert isinstance(nearest, float)
    assert asked.low <= nearest <= asked.high + 1e-9
    assert abs(nearest - min(max(value, asked.low), asked.high)) <= step / 20 + 1e-9
