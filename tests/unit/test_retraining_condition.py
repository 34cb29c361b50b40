"""Conditions on the figures of trials: read as Python reads them, and nothing else is."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import NothingToTrainError, SettingsError
from search.retraining.condition import Condition, fitting

SIGNS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
NAMES = ("parameters", "val_loss", "dropout")
NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-5, 5, allow_nan=False))
FIGURES = {
    4: {"parameters": 900_000, "val_loss": 0.5, "optimizer": "adam", "batch_norm": True},
    2: {"parameters": 250_000, "val_loss": 0.6, "optimizer": "sgd", "batch_norm": False},
    7: {"parameters": 40_000, "val_loss": 0.9, "optimizer": "sgd", "batch_norm": True},
    8: {"val_loss": 1.1, "optimizer": "adam", "batch_norm": True},
}


@given(
    comparisons=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(list(SIGNS)), NUMBERS),
        min_size=1,
        max_size=4,
    ),
    figures=st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBERS)),
)
def test_a_condition_holds_as_in_python(
    comparisons: list[tuple[str, str, float]], figures: dict[str, float]
) -> None:
    text = " and ".join(f"{name} {sign} {number!r}" for name, sign, number in comparisons)
    gap = Condition.parse(text, NAMES).gap(figures)
    assert gap >= 0
    assert (gap == 0) == all(SIGNS[s](figures[name], number) for name, s, number in comparisons)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("parameters < 300_000", [2, 7]),
        ("300_000 > parameters", [2, 7]),
        ("50_000 < parameters <= 250_000", [2]),
        ("val_loss < 1.0 and (parameters < 3e5 and optimizer == 'sgd')", [2, 7]),
        ("batch_norm == True and optimizer != 'sgd'", [4, 8]),
        (" parameters > -1 ", [4, 2, 7]),
    ],
)
def test_the_trials_that_fit_keep_their_order(text: str, numbers: list[int]) -> None:
    assert fitting(text, FIGURES) == numbers


@pytest.mark.parametrize(
    "text",
    [
        *("", "parameters", "parameters < ", "1 < 2", "not parameters < 3"),
        *("parameters < 3 or val_loss < 1", "parameters < val_loss + 1", "parameters in (1, 2)"),
        *("parameters is None", "parameters < None", "parameters < 1j", "optimizer == b'sgd'"),
        *("parameters < 1e999", "parameters < -1e999", "parameters < 1" + 400 * "0"),
        *("abs(val_loss) < 1", "val_loss.real < 1", "[val_loss][0] < 1", "val_loss < 1 < 2"),
        *("(x := 3) < val_loss", "val_loss < 1; parameters < 1", "optimizer == '\\d'", "a\0b < 1"),
        *("val_loss <" + 5000 * "(" + "1" + 5000 * ")", "val_loss < \udcff", "optimizer == f'{1}'"),
        "__import__('os').system('true') == 0",
    ],
)
def test_anything_else_is_refused_with_the_names_that_exist(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        fitting(text, FIGURES)
    (line,) = str(refused.value).splitlines()
    assert "expected comparisons (< <= > >= == !=) joined by and" in line
    assert "the names are batch_norm, optimizer, parameters, val_loss" in line


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(SettingsError, match=r"unknown name 'params'; expected .*parameters"):
        fitting("params < 3", FIGURES)


def test_texts_have_no_order() -> None:
    with pytest.raises(SettingsError, match=r"optimizer is compared as a text: expected == or !="):
        fitting("optimizer < 3", FIGURES)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("parameters < 10_000", "trial 7 with parameters 40,000"),
        ("parameters < 300_000 and val_loss < 0.55", "trial 2 with val_loss 0.6"),
        ("val_loss < 0.5", "trial 4 with val_loss 0.5"),
        ("optimizer == 'lion' and val_loss < 1", "trial 4 with optimizer 'adam'"),
        ("val_loss < 0.5 and parameters > 1e6", "trial 4 with val_loss 0.5, parameters 900,000"),
    ],
)
def test_where_none_fits_the_nearest_is_told(text: str, nearest: str) -> None:
    with pytest.raises(NothingToTrainError) as refused:
        fitting(text, FIGURES)
    assert str(refused.value) == (
        f"--where {text!r}: none of 4 trained trials fits; the nearest is {nearest}"
    )


def test_without_trained_trials_none_fits() -> None:
    assert fitting("parameters < 3", {}) == []


def test_a_choice_that_is_none_fits_no_number() -> None:
    figures = {"l2": None}
    for text, gap in {"l2 < 0.001": 1.0, "l2 == 0.001": 1.0, "l2 != 0.001": 0.0}.items():
        assert Condition.parse(text, ["l2"]).gap(figures) == gap
