"""What a study stores of its images, space and settings, and what it refuses to be resumed with."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage

from models.own_ranges import Choice, Range, Real, Whole
from search.errors import TreinoError
from search.spaces.builtin import SPACES, Space, make_space
from search.spaces.custom_ranges import OwnRanges
from search.spaces.hypermodel import OwnNetworks
from search.spaces.records import CodeRecord, differences
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import OPENED_BY, RECIPE, REOPENED_BY
from search.study.names import existing_studies
from search.study.opening import Opening, open_study, openings_of
from search.study.recipe import StudyRecipe
from search.study.recipe_of_0_1 import MADE_WITH
from search.study.workspace import space_of
from storage.engine import database_url, open_storage
from storage.study import load
from tests.support.recipes import begun, opening, recipe

SIDE = 16
TRAINING = TrainingDefaults(epochs=7, train_order="folders", augment=True, early_stopping=False)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    opened = open_storage(database_url(str(tmp_path / "treino.db")), write=True)
    yield opened
    opened.engine.dispose()


def own_ranges() -> OwnRanges:
    base = make_space("documents", TRAINING, SIDE)
    return OwnRanges(TRAINING, SIDE, base=base, own={"dropout_dense": FloatDistribution(0.1, 0.2)})


def own_networks() -> OwnNetworks:
    ranges: dict[str, Range] = {
        "n": Whole(low=8, high=64, step=8),
        "kind": Choice(choices=("a", None, True, 0.5)),
        "rate": Real(low=1e-4, high=0.1, log=True),
    }
    return OwnNetworks(TRAINING, SIDE, code="/home/me/net.py:build", digest="0123", ranges=ranges)


@pytest.mark.parametrize(
    "space",
    [*(make_space(name, TRAINING, SIDE) for name in SPACES), own_ranges(), own_networks()],
    ids=lambda space: type(space).__name__,
)
def test_a_study_restores_its_space(storage: RDBStorage, space: Space) -> None:
    made = recipe(side=SIDE, space=space.record(), **dict(TRAINING))
    code = space.code if isinstance(space, OwnNetworks) else ""
    open_study(storage, "mine", made, opening(code=code))
    again = load(storage, "mine")
    assert StudyRecipe.stored_in(again.user_attrs) == made
    assert space_of(again) == space


class TestOpening:
    def test_the_same_recipe(self, storage: RDBStorage) -> None:
        study, created = open_study(storage, "birds", recipe("birds"), opening("/data/birds"))
        assert created
        assert study.direction is optuna.study.StudyDirection.MINIMIZE
        assert study.user_attrs.keys() == {RECIPE, OPENED_BY}
        again, created = open_study(storage, "birds", recipe("aves"), opening("/data/birds"))
        assert not created
        assert again.user_attrs == study.user_attrs, "the name of the images is only shown"

    def test_other_openings_are_stored(self, storage: RDBStorage) -> None:
        for version in ("5.0", "5.1", "5.1", "5.0", "5.2", "5.1", "5.0"):
            open_study(storage, "birds", recipe(), opening(versions={"optuna": version}))
            last = openings_of(load(storage, "birds"))[-1]
            assert last.versions["optuna"] == version
        openings = openings_of(load(storage, "birds"))
        assert [each.versions["optuna"] for each in openings] == ["5.0", "5.2", "5.1", "5.0"]

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"epochs": 50}, "made with epochs 20, not 50: its trials"),
            (
                {"fingerprint": "5f1f", "seed": 8},
                "made with data images 5f1e, not images 5f1f; seed 7, not 8: its trials",
            ),
            ({"augment": True}, "augment no, not yes"),
            ({"precision": "bfloat16"}, "precision float32, not bfloat16"),
            ({"early_stopping": False}, "early stopping yes, not no"),
            ({"train_order": "folders"}, "train order together, not folders"),
            ({"monitor": "loss"}, "monitor val_loss, not loss"),
            ({"space": "extended"}, "space documents, not extended"),
            ({"space": own_ranges().record()}, "dropout_dense 0.0 to 0.7, not 0.1 to 0.2"),
            ({"space": own_networks().record()}, "not own networks of build (source 0123)"),
        ],
    )
    def test_another_recipe_is_refused_with_both_values(
        self, storage: RDBStorage, changed: dict[str, Any], said: str
    ) -> None:
        begun(storage, "birds")
        with pytest.raises(TreinoError) as caught:
            begun(storage, "birds", recipe(**changed))
        assert said in str(caught.value)
        assert "name another STUDY=, or use the old values" in str(caught.value)
        assert StudyRecipe.stored_in(load(storage, "birds").user_attrs) == recipe()

    @pytest.mark.parametrize(
        ("attributes", "said"),
        [
            ({}, "was not made by treino"),
            ({RECIPE: 3}, "was not made by treino"),
            ({RECIPE: {"format": 2}}, "is damaged, or a newer treino made it"),
            ({RECIPE: {**recipe().stored(), "more": 1}}, "is damaged, or a newer treino made it"),
            ({MADE_WITH: {"data": ["x"]}, OPENED_BY: {"x": 1}}, "was not made by treino"),
            ({MADE_WITH: 1, OPENED_BY: {}}, "was not made by treino"),
        ],
    )
    def test_studies_of_other_programs_are_refused(
        self, storage: RDBStorage, attributes: dict[str, Any], said: str
    ) -> None:
        study = optuna.create_study(storage=storage, study_name="theirs")
        study.enqueue_trial({"x": 1})
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        assert existing_studies(storage)["theirs"].recipe is None
        with pytest.raises(TreinoError, match=said):
            begun(storage, "theirs")

    def test_a_range_of_another_kind_is_no_recipe(self, storage: RDBStorage) -> None:
        stored = recipe().stored()
        stored["space"]["ranges"]["blocks"] = {"name": "Nonsense"}
        assert StudyRecipe.stored_in({RECIPE: stored}) is None

    def test_without_an_opening_one_line_says_so(self, storage: RDBStorage) -> None:
        study = begun(storage, "birds")
        study.set_user_attr(OPENED_BY, {"decoded": 5})
        with pytest.raises(TreinoError, match="does not say where its images are"):
            openings_of(study)

    def test_a_creation_that_was_interrupted_is_completed(self, storage: RDBStorage) -> None:
        study = optuna.create_study(storage=storage, study_name="birds")
        study.set_user_attr(OPENED_BY, opening("/before").stored())
        _, created = open_study(storage, "birds", recipe(), opening("/now"))
        assert created
        attributes = load(storage, "birds").user_attrs
        assert [each.data for each in Opening.all_stored_in(attributes)] == ["/now"]

    def test_paths_of_any_bytes(self, storage: RDBStorage) -> None:
        path = os.fsdecode(b"/data/caf\xe9")
        made = opening(path, decoded=path, code=path, settings={"prior": path, "trials": None})
        open_study(storage, "birds", recipe(), made)
        assert Opening.all_stored_in(load(storage, "birds").user_attrs) == [made]


@given(
    images=st.text(st.characters(codec="utf-8"), max_size=20),
    classes=st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=4).map(tuple),
    seed=st.integers(0, 2**63 - 1),
    epochs=st.integers(1, 500),
    augment=st.booleans(),
)
def test_the_stored_form_is_json_and_the_same_recipe(
    images: str, classes: tuple[str, ...], seed: int, epochs: int, augment: bool
) -> None:
    made = recipe(images, classes=classes, seed=seed, epochs=epochs, augment=augment)
    stored = json.loads(json.dumps({RECIPE: made.stored()}))
    again = StudyRecipe.stored_in(stored)
    assert again == made
    assert made.differences(made) == []


TEXT_OF_DOCUMENTS = (
    'documents, folders: {"batch_norm": [true, false], "batch_size": [32, 64, 128, 256], '
    '"blocks": [2, 4], "dropout_blocks": [0.0, 0.6], "dropout_dense": [0.1, 0.2], '
    '"dropout_first": [0.0, 0.6], "l2_conv": [1e-08, 0.1], "l2_dense": [1e-08, 0.1], '
    '"last_filters": [128, 256, 512], "learning_rate": [0.0001, 0.01]}'
)
TEXT_OF_OWN = (
    'own, folders: {"digest": "0123", "function": "build", "ranges": {'
    '"kind": {"choices": ["a", null, true, 0.5], "kind": "choice"}, '
    '"n": {"high": 64, "kind": "whole", "log": false, "low": 8, "step": 8}, '
    '"rate": {"high": 0.1, "kind": "real", "log": true, "low": 0.0001, "step": null}}}'
)


def texts_of_0_1(text: str, code: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """What version 0.1 stored: ``made_with`` and ``made_by``."""
    made_with = {
        "augment": "yes",
        "early stopping": "no",
        "data": "birds of Brazil 5f1e",
        "space": text,
        "epochs": "7",
        "monitor": "val_loss",
        "seed": "3",
    }
    made_by = {
        "data": "/data/birds",
        "named": "given",
        "decoded": "/cache/birds",
        "image_size": str(SIDE),
        "skip_bad_images": "True",
        "images": "",
        "code": code,
        "classes": '["dark", "light"]',
        "space": "space.toml",
        "augment": "True",
        "timeout": "1.5",
        "trials": "30",
        "budget_epochs": "None",
        "max_params": "100000000",
        "python": "3.11.7",
        "optuna": "5.0.0",
        "treino": "0.1.0",
    }
    return made_with, made_by


@pytest.mark.parametrize(
    ("text", "space", "code"),
    [
        (TEXT_OF_DOCUMENTS, own_ranges(), ""),
        (TEXT_OF_OWN, own_networks(), "/home/me/net.py:build"),
    ],
    ids=["documents", "own"],
)
def test_what_version_0_1_stored(storage: RDBStorage, text: str, space: Space, code: str) -> None:
    made_with, made_by = texts_of_0_1(text, code)
    study = optuna.create_study(storage=storage, study_name="birds")
    study.set_user_attr("made_with", made_with)
    study.set_user_attr("made_by", made_by)
    now = recipe("birds of Brazil", side=SIDE, seed=3, space=space.record(), **dict(TRAINING))
    assert StudyRecipe.stored_in(study.user_attrs) == now
    assert space_of(study) == space
    (before,) = Opening.all_stored_in(study.user_attrs)
    order = [name for name in made_by if name in before.settings]
    assert list(before.settings) == order, "a command made of them is always the same"
    assert before == Opening(
        data="/data/birds",
        name_derived=False,
        decoded="/cache/birds",
        skip_bad_images=True,
        image_limit=None,
        code=code,
        settings={
            "space": "space.toml",
            "timeout": 1.5,
            "trials": 30,
            "budget_epochs": None,
            "max_params": 100_000_000,
        },
        versions={"python": "3.11.7", "optuna": "5.0.0", "treino": "0.1.0"},
    )
    study.enqueue_trial({"x": 1})
    _, created = open_study(storage, "birds", now, opening("/elsewhere"))
    assert not created
    attributes = load(storage, "birds").user_attrs
    assert attributes["made_with"] == made_with
    assert [each.data for each in Opening.all_stored_in(attributes)] == [
        "/data/birds",
        "/elsewhere",
    ]
    assert attributes[REOPENED_BY] == [opening("/elsewhere").stored()]


def test_a_study_of_0_1_without_trials_is_not_made_anew(storage: RDBStorage) -> None:
    made_with, made_by = texts_of_0_1(TEXT_OF_DOCUMENTS)
    study = optuna.create_study(storage=storage, study_name="birds")
    study.set_user_attr(MADE_WITH, made_with)
    study.set_user_attr(OPENED_BY, made_by)
    with pytest.raises(TreinoError, match="seed 3, not 7"):
        begun(storage, "birds", recipe())
    assert load(storage, "birds").user_attrs == {MADE_WITH: made_with, OPENED_BY: made_by}


@pytest.mark.parametrize(
    ("with_", "by"),
    [
        ({"data": "bird\udcff 5f1e"}, {"classes": '["a\udcff"]'}),
        ({"epochs": "200000"}, {}),
        ({}, {"timeout": "soon"}),
    ],
    ids=["bytes", "epochs", "a setting"],
)
def test_what_0_1_accepted_is_read(with_: dict[str, str], by: dict[str, str]) -> None:
    made_with, made_by = texts_of_0_1(TEXT_OF_DOCUMENTS)
    attributes = {MADE_WITH: made_with | with_, OPENED_BY: made_by | by}
    assert StudyRecipe.stored_in(attributes) is not None
    (opening,) = Opening.all_stored_in(attributes)
    assert opening.settings["trials"] == 30


def test_ranges_with_and_without_a_step_differ() -> None:
    def record(**more: Any) -> CodeRecord:
        ranges: dict[str, Range] = {"rate": Real(low=0.0, high=10.0, **more)}
        return CodeRecord(digest="0", function="build", ranges=ranges)

    (difference,) = differences(record(), record(step=1.0))
    assert difference == ("rate", "0.0 to 10.0", "0.0 to 10.0, step 1.0")
