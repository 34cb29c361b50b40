"""The space: what it holds, and which networks its configurations stand for."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.documented import DOCUMENTED
from models.spec import map_sides
from search.scheduler import make_sampler
from search.space import Space

SPACE = Space(epochs=20, image_side=32)


def ask(space: Space, seed: int) -> dict[str, object]:
    study = optuna.create_study(sampler=make_sampler("random", seed, 0))
    return space.suggest(study.ask())


def test_run_10_is_in_the_space_exactly() -> None:
    params = SPACE.of_documented_run()
    assert params is not None
    model, training = SPACE.specs(params)
    run_10 = DOCUMENTED["run-10"]
    assert model == run_10.model
    assert training == run_10.training.model_copy(update={"epochs": 20})


@pytest.mark.parametrize(
    ("blocks", "last", "filters"),
    [
        (2, 128, [32, 128]),
        (4, 128, [32, 64, 128, 128]),
        (4, 256, [32, 64, 128, 256]),
        (5, 512, [32, 64, 128, 256, 512]),
    ],
)
def test_filters_double_up_to_those_of_the_last(blocks: int, last: int, filters: list) -> None:
    params = {**(SPACE.of_documented_run() or {}), "blocks": blocks, "last_filters": last}
    assert [block.filters for block in SPACE.specs(params)[0].blocks] == filters


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([8, 12, 16, 28, 32, 64]))
def test_every_configuration_makes_a_network_with_room(seed: int, side: int) -> None:
    space = Space(epochs=3, image_side=side)
    params = ask(space, seed)
    assert space.contains(params)
    model, training = space.specs(params)
    assert map_sides(model, side)[-1] >= 1
    assert len(model.blocks) == params["blocks"]
    assert training.epochs == 3


def test_images_too_small_for_run_10_leave_it_out() -> None:
    assert Space(epochs=3, image_side=8).of_documented_run() is None


def test_what_lies_outside_the_space_is_known() -> None:
    params = SPACE.of_documented_run() or {}
    assert SPACE.contains(params)
    assert not SPACE.contains({**params, "last_filters": 100})
    assert not SPACE.contains({**params, "dropout_first": 0.99})
    assert not SPACE.contains({**params, "momentum": 0.9})
    assert not SPACE.contains({k: v for k, v in params.items() if k != "blocks"})


def test_spaces_are_told_apart_by_their_description() -> None:
    assert SPACE.describe() == Space(epochs=20, image_side=32).describe()
    assert SPACE.describe() != Space(epochs=20, image_side=16).describe()
    assert SPACE.describe() != Space(epochs=20, image_side=32, train_order="folders").describe()
    assert "\n" not in SPACE.describe()
