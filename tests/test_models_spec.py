"""Specs: what they refuse, how they travel, and what they say of a network without Keras."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.documented import DOCUMENTED
from models.spec import (
    Block,
    Dense,
    ModelSpec,
    SpecError,
    TrainingSpec,
    count_parameters,
    map_sides,
)

rates = st.floats(0.0, 0.99)
strengths = st.floats(0.0, 1.0)
blocks = st.builds(
    Block,
    filters=st.integers(1, 512),
    padding=st.sampled_from(["same", "valid"]),
    batch_norm=st.booleans(),
    dropout=rates,
    l2=strengths,
)
models = st.builds(
    ModelSpec,
    blocks=st.lists(blocks, min_size=1, max_size=6).map(tuple),
    dense=st.builds(
        Dense, units=st.integers(1, 1024), batch_norm=st.booleans(), dropout=rates, l2=strengths
    ),
    input_side=st.none() | st.integers(8, 256),
)


@given(models)
def test_a_spec_goes_to_json_and_back_unchanged(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("run", DOCUMENTED.values(), ids=DOCUMENTED)
def test_documented_specs_go_to_json_and_back(run) -> None:
    assert ModelSpec.from_json(run.model.to_json()) == run.model
    assert TrainingSpec.from_json(run.training.to_json()) == run.training


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ('{"blocks": []}', "blocks"),
        ('{"blocks": [{"filters": 0}]}', "blocks.0.filters"),
        ('{"blocks": [{"filters": 32, "dropout": 1.0}]}', "not 1.0"),
        ('{"blocks": [{"filters": 32, "l2": NaN}]}', "blocks.0.l2"),
        ('{"blocks": [{"filters": "32"}]}', "not '32'"),
        ('{"blocks": [{"filters": 32, "padding": "full"}]}', "blocks.0.padding"),
        ('{"blocks": [{"filters": 32, "kernel": 5}]}', "blocks.0.kernel"),
    ],
)
def test_what_describes_no_network_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SpecError, match="ModelSpec") as caught:
        ModelSpec.from_json(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_an_error_in_one_line(text: str) -> None:
    try:
        TrainingSpec.from_json(text)
    except SpecError as error:
        assert "\n" not in str(error)


def test_a_network_without_room_is_refused_with_the_block_that_has_none() -> None:
    run_1 = ModelSpec(blocks=tuple(Block(filters=f, padding="valid") for f in (32, 64, 128, 128)))
    assert map_sides(run_1, 46) == [22, 10, 4, 1]
    with pytest.raises(SpecError, match=r"block 4 of 4 gets a 3x3 map"):
        map_sides(run_1, 45)
    with pytest.raises(SpecError, match=r"block 4 of 4 gets a 2x2 map"):
        map_sides(run_1, 32)


def test_the_last_documented_run_has_the_parameters_it_had() -> None:
    assert count_parameters(DOCUMENTED["run-10"].model, (32, 32, 3), 10) == 922_314
