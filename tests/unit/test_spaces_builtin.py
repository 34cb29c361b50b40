"""The space: what it holds, and which networks its configurations stand for."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from models.documented import DOCUMENTED
from models.spec import map_sides
from search.errors import SettingsError
from search.scheduling.samplers import make_sampler
from search.spaces.builtin import RATES, SPACES, Space, make_space
from search.spaces.network_sizes import network_size
from search.spaces.records import RangesRecord, described, differences
from search.spaces.training_defaults import TrainingDefaults

TRAINING = TrainingDefaults(epochs=20)
SPACE = make_space("documents", TRAINING, 32)
EXTENDED = make_space("extended", TRAINING, 32)


def ask(space: Space, seed: int) -> dict[str, object]:
    study = optuna.create_study(sampler=make_sampler("random", seed, 0))
    return space.suggest(study.ask())


@pytest.mark.parametrize("space", [SPACE, EXTENDED], ids=SPACES)
def test_run_10_is_in_the_space_exactly(space: Space) -> None:
    params = space.of_documented_run()
    assert params is not None
    assert space.contains(params)
    assert space.first_configurations()[0] == ("the documents' run 10", params)
    model, training = space.specs(params)
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
def test_filters_double_up_to_those_of_the_last(blocks: int, last: int, filters: list[int]) -> None:
    params = {**(SPACE.of_documented_run() or {}), "blocks": blocks, "last_filters": last}
    assert [block.filters for block in SPACE.specs(params)[0].blocks] == filters


@settings(max_examples=50)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**31), st.sampled_from([8, 12, 28, 64]))
def test_every_configuration_makes_a_network_with_room(name: str, seed: int, side: int) -> None:
    space = make_space(name, TrainingDefaults(epochs=3), side)
    params = ask(space, seed)
    assert space.contains(params)
    model, training = space.specs(params)
    assert map_sides(model, side)[-1] >= 1
    assert len(model.blocks) == params["blocks"]
    assert training.epochs == 3


@settings(max_examples=50)
@given(st.integers(0, 2**31))
def test_the_extended_space_holds_every_network_of_the_documents_space(seed: int) -> None:
    params = ask(SPACE, seed)
    run_10 = EXTENDED.of_documented_run() or {}
    wider = {**run_10, **params, "norm": "after" if params["batch_norm"] else "none"}
    del wider["batch_norm"]
    assert EXTENDED.contains(wider)
    assert EXTENDED.specs(wider) == SPACE.specs(params)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.data())
def test_no_parameter_of_the_extended_space_goes_unused(seed: int, data: st.DataObject) -> None:
    # Else two configurations would be the same network, trained twice.
    params = ask(EXTENDED, seed)
    name = data.draw(st.sampled_from(sorted(params)))
    other = ask(EXTENDED, seed + 1)[name]
    if other != params[name]:
        assert EXTENDED.specs({**params, name: other}) != EXTENDED.specs(params)


@pytest.mark.parametrize("space", [SPACE, EXTENDED], ids=SPACES)
def test_trials_from_before_a_parameter_was_added_are_the_networks_they_were(space: Space) -> None:
    first = {
        *("blocks", "last_filters", "dropout_first", "dropout_blocks", "dropout_dense"),
        *("l2_conv", "l2_dense", "batch_size", "learning_rate"),
    }
    if space.name == "documents":
        first |= {"batch_norm"}
    else:
        first |= {"norm", "convolutions", "first_filters", "pooling", "dense_units"}
        first |= {"optimizer", "weight_decay", "schedule", "label_smoothing"}
    params = ask(space, 0)
    # A new parameter has to be in `later`: without it, older studies could not be read.
    assert params.keys() == first | space.later.keys()
    assert space.contains({**params, **space.later})
    assert space.later.items() <= (space.of_documented_run() or {}).items()
    old = {name: params[name] for name in first}
    assert space.specs(old) == space.specs({**old, **space.later})


@settings(max_examples=30)
@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**31))
def test_rates_and_strengths_change_no_size(name: str, seed: int) -> None:
    # Sizes are counted once for all of them.
    space = make_space(name, TRAINING, 32)
    params, others = ask(space, seed), ask(space, seed + 1)
    rates = {
        name: others[name]
        for name, distribution in space.distributions().items()
        if isinstance(distribution, FloatDistribution)
    }
    sizes = [
        (network_size(model, (32, 32, 3), 10), training.batch_size)
        for model, training in map(space.specs, (params, {**params, **rates}))
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("side", [8, 32])
def test_our_own_first_configuration_is_in_the_extended_space(side: int) -> None:
    space = make_space("extended", TrainingDefaults(epochs=20), side)
    origin, params = space.first_configurations()[-1]
    assert origin == "treino's own"
    assert space.contains(params)
    assert map_sides(space.specs(params)[0], side)[-1] >= 1


@pytest.mark.parametrize("name", RATES)
def test_a_step_of_every_optimiser_subtracts_the_same_share_of_what_decays(name: str) -> None:
    _, params = EXTENDED.first_configurations()[-1]
    adam, other = (EXTENDED.specs({**params, "optimizer": o})[1] for o in ("adam", name))
    assert other.learning_rate == pytest.approx(RATES[name] * adam.learning_rate)
    shrinking = adam.learning_rate * adam.weight_decay
    assert other.learning_rate * other.weight_decay == pytest.approx(shrinking)


def test_augmentation_and_precision_are_of_every_trial() -> None:
    plain = SPACE.specs(SPACE.of_documented_run() or {})[1]
    space = make_space(
        "documents", TrainingDefaults(epochs=20, augment=True, precision="bfloat16"), 32
    )
    other = space.specs(space.of_documented_run() or {})[1]
    assert (plain.augment, plain.precision) == (False, "float32")
    assert (other.augment, other.precision) == (True, "bfloat16")


@pytest.mark.parametrize("name", SPACES)
def test_images_too_small_for_run_10_leave_it_out(name: str) -> None:
    assert make_space(name, TrainingDefaults(epochs=3), 8).of_documented_run() is None


def test_an_unknown_space_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="'vast': expected documents or extended"):
        make_space("vast", TrainingDefaults(epochs=3), 32)


def test_what_lies_outside_the_space_is_known() -> None:
    params = SPACE.of_documented_run() or {}
    assert SPACE.contains(params)
    assert not SPACE.contains({**params, "last_filters": 100})
    assert not SPACE.contains({**params, "dropout_first": 0.99})
    assert not SPACE.contains({**params, "momentum": 0.9})
    assert not SPACE.contains({k: v for k, v in params.items() if k != "blocks"})


def test_spaces_are_told_apart_by_their_records() -> None:
    def record(name: str = "documents", side: int = 32) -> RangesRecord:
        return RangesRecord.from_json(make_space(name, TRAINING, side).record().to_json())

    assert record() == SPACE.record()
    assert record().distributions == SPACE.distributions()
    assert list(differences(record(), record())) == []
    assert list(differences(record(), record(side=16))) == [("blocks", "2 to 5", "2 to 4")]
    assert list(differences(record(), record("extended"))) == [("space", "documents", "extended")]
    assert described(record()).startswith("documents: batch_norm true, false; batch_size 32, 64,")
    assert "l2_conv 1e-08 to 0.1, log; " in described(record())
