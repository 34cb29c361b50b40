"""Specs: what they refuse, how they travel, and what they say of a network without Keras."""

import json
from typing import Literal

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
    count_operations,
    count_parameters,
    learning_rate_at,
    map_sides,
)
from tests.support.specs import models


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


def test_pooling_first_leaves_less_room_for_the_second_convolution() -> None:
    block = Block(filters=4, padding="valid", convolutions=2, pool_first=True)
    assert map_sides(ModelSpec(blocks=(block,)), 8) == [1]  # 8, 6, pooled 3, 1
    with pytest.raises(SpecError, match=r"block 1 of 1 gets a 7x7 map"):
        map_sides(ModelSpec(blocks=(block,)), 7)


def test_the_last_documented_run_has_the_parameters_it_had() -> None:
    assert count_parameters(DOCUMENTED["run-10"].model, (32, 32, 3), 10) == 922_314


def test_specs_written_before_there_were_more_choices_still_load() -> None:
    block = '{"filters": 4, "padding": "same", "batch_norm": true, "dropout": 0.3, "l2": 0.001}'
    dense = '{"units": 8, "batch_norm": true, "dropout": 0.5, "l2": 0.001}'
    model = f'{{"blocks": [{block}], "dense": {dense}, "input_side": null}}'
    assert ModelSpec.from_json(model) == ModelSpec(
        blocks=(Block(filters=4, dropout=0.3, l2=0.001),),
        dense=Dense(units=8, dropout=0.5, l2=0.001),
    )
    training = (
        '{"optimizer": "adam", "learning_rate": 0.001, "batch_size": 32, "epochs": 100, '
        '"early_stopping": {"patience": 10}, "train_order": "together", '
        '"reduce_lr": {"factor": 0.1, "patience": 5, "min_lr": 1e-06}}'
    )
    assert TrainingSpec.from_json(training) == DOCUMENTED["run-10"].training


def test_later_choices_that_are_not_made_are_not_stored() -> None:
    block = Block(filters=4, pool_first=True)
    assert '"pool_first": true' in block.to_json()
    assert '"mirror": true' in ModelSpec(blocks=(block,), mirror=True).to_json()


def test_the_stored_form_of_run_10_never_changes() -> None:
    """A field that is stored with its default would give all retrained runs other names."""

    def block(filters: int, dropout: float) -> dict[str, object]:
        rest = {"dropout": dropout, "l2": 0.001, "convolutions": 1}
        before = {"padding": "same", "batch_norm": True, "norm_first": False}
        return {"filters": filters, **before, **rest}

    run = DOCUMENTED["run-10"]
    assert json.loads(run.model.to_json()) == {
        "blocks": [block(32, 0.3), block(64, 0.4), block(128, 0.4), block(256, 0.4)],
        "dense": {"units": 512, "batch_norm": True, "dropout": 0.5, "l2": 0.001},
        "pooling": "flatten",
        "input_side": None,
    }
    assert json.loads(run.training.to_json()) == {
        "optimizer": "adam",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "learning_rate": 0.001,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "batch_size": 32,
        "epochs": 100,
        "early_stopping": {"patience": 10},
        "reduce_lr": {"factor": 0.1, "patience": 5, "min_lr": 1e-6},
        "train_order": "together",
        "augment": False,
        "precision": "float32",
    }


def test_run_10_takes_the_operations_that_its_layers_add_up_to() -> None:
    convolutions = [32**2 * 27 * 32, 16**2 * 288 * 64, 8**2 * 576 * 128, 4**2 * 1152 * 256]
    dense = [4 * 256 * 512, 512 * 10]
    operations = count_operations(DOCUMENTED["run-10"].model, (32, 32, 3), 10)
    assert operations == sum(convolutions + dense)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
def test_a_schedule_rises_to_its_rate_and_falls_to_nothing(
    schedule: Literal["constant", "cosine", "one-cycle"], steps: int
) -> None:
    spec = TrainingSpec(learning_rate=0.5, schedule=schedule)
    rates = [learning_rate_at(spec, step, steps) for step in range(steps + 1)]
    top = rates.index(max(rates))
    assert rates[top] == 0.5
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if schedule == "constant":
        assert rates[-1] == 0.5
    else:
        assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    if schedule == "one-cycle" and steps == 100:
        assert top == 25
        assert rates[0] == pytest.approx(0.5 / 25)
