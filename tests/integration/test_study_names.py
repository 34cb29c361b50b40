"""Which study a search is about where none was named: the same images, the same study."""

import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage

from search.study.attributes import OPENED_BY, RECIPE, REOPENED_BY
from search.study.names import ExistingStudy, derived_name, existing_studies, plain_name
from search.study.recipe import StudyRecipe
from search.study.recipe_of_0_1 import MADE_WITH
from storage.engine import database_url, open_storage
from storage.files import checked_name
from tests.support.recipes import begun, recipe

ONE, OTHER = "1" * 16, "2" * 16


def made(fingerprint: str = ONE, name: str = "any", epochs: int = 3) -> StudyRecipe:
    return recipe(name, fingerprint, epochs=epochs)


def study(made_with: StudyRecipe, *places: str) -> ExistingStudy:
    return ExistingStudy(made_with, places)


FOREIGN = ExistingStudy(None)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((each, each) for each in ("auto", "digits", "birds", "Imagens", "a b", "açúcar")),
        ("/data/birds/", "birds"),
        ("/data/.birds", "birds"),
        ("/data/artifacts", "artifacts-images"),
        ("/data/Treino.db", "Treino.db-images"),
        ("/data/baselines", "baselines-images"),
        ("/data/kaggle/ana/birds/versions/1", "birds-1"),
        ("/data/birds/v2.1", "birds-v2.1"),
        ("/data/../birds", "birds"),
        ("/data/birds/x/..", "birds"),
        ("/", "images"),
        ("/1/2", "1-2"),
        ("/data/a\n\tb", "a b"),
        ("/data/a\\b..c", "a-b-c"),
        ("/data/" + os.fsdecode(b"caf\xe9s"), "caf s"),
        ("/data/" + os.fsdecode(b"\xe9"), "images"),
        ("/data/" + "x" * 200, "x" * 60),
    ],
)
def test_names_after_paths(data: str, name: str) -> None:
    assert plain_name(data) == name


def test_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "birds/inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "birds")
    assert plain_name(".") == "birds"
    monkeypatch.chdir(tmp_path / "birds/inside")
    assert plain_name("..") == "birds"


@given(
    st.text(st.characters(exclude_characters="\0", codec=None), max_size=300),
    st.sampled_from(["", "-curves"]),
)
def test_any_path_gives_a_valid_name(data: str, ending: str) -> None:
    assert checked_name(plain_name(data, ending)) != "baselines"
    there = {plain_name(data, ending): study(made(OTHER))}
    assert checked_name(derived_name(data, made(), there, ending)) not in there


class TestAmongStudies:
    """The one of these images first, and a new one rather than a refusal."""

    def test_a_new_one(self) -> None:
        assert derived_name("birds", made(), {}) == "birds"
        assert derived_name("birds", made(), {}, "-curves") == "birds-curves"

    def test_the_same_command_finds_it_again(self) -> None:
        there = {"birds": study(made())}
        assert derived_name("birds", made(), there) == "birds"
        assert derived_name("elsewhere/birds", made(name="other"), there) == "birds"

    def test_one_that_was_made_with_other_settings_is_left_to_be_refused(self) -> None:
        there = {"birds": study(made(epochs=9))}
        assert derived_name("birds", made(), there) == "birds"

    def test_other_images_have_a_study_of_their_own(self) -> None:
        there = {"birds": study(made(OTHER))}
        name = derived_name("birds", made(), there)
        assert name == "birds-111111"
        there[name] = study(made())
        assert derived_name("birds", made(), there) == name
        assert derived_name("birds", made(OTHER), there) == "birds"

    def test_nearly_the_same_fingerprint(self) -> None:
        there = {"birds": study(made(OTHER)), "birds-111111": study(made("1" * 15 + "2"))}
        assert derived_name("birds", made(), there) == "birds-11111111"

    def test_a_name_as_earlier_versions_gave_it(self) -> None:
        there = {"1": study(made())}
        assert derived_name("/k/birds/versions/1", made(), there) == "1"
        assert derived_name("/k/cars/versions/1", made(OTHER), there) == "cars-1"

    def test_renamed_images(self) -> None:
        there = {"birds": study(made(), "/data/birds", "/data/vogels")}
        assert derived_name("/data/aves", made(), there) == "birds"
        assert derived_name("/data/aves", made(epochs=9), there) == "aves"
        assert derived_name("/data/aves", made(OTHER), there) == "aves"

    def test_a_study_that_the_user_named_is_not_taken_for_another(self) -> None:
        there = {"mine": study(made(), "/data/birds")}
        assert derived_name("/data/aves", made(), there) == "aves"

    def test_a_recording_is_no_search(self) -> None:
        there = {"birds-curves": study(made(), "/data/birds")}
        assert derived_name("/data/aves", made(), there) == "aves"
        assert derived_name("/data/aves", made(), there, "-curves") == "birds-curves"

    def test_what_others_made(self) -> None:
        assert derived_name("birds", made(), {"birds": FOREIGN}) == "birds-111111"
        interrupted = ExistingStudy(None, empty=True)
        assert derived_name("birds", made(), {"birds": interrupted}) == "birds"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    opened = open_storage(database_url(str(tmp_path / "treino.db")), write=True)
    yield opened
    opened.engine.dispose()


def test_studies_of_other_programs_are_passed_over(storage: RDBStorage) -> None:
    for number, value in enumerate(("torch", 3, ["a"], {"data": 5})):
        study = optuna.create_study(study_name=f"foreign {number}", storage=storage)
        for name in (RECIPE, MADE_WITH, OPENED_BY, REOPENED_BY):
            study.set_user_attr(name, value)
    assert derived_name("birds", made(), existing_studies(storage)) == "birds"


def test_what_the_studies_were_made_with(storage: RDBStorage) -> None:
    optuna.create_study(storage=storage, study_name="foreign").enqueue_trial({"x": 1})
    optuna.create_study(storage=storage, study_name="interrupted")
    for place in ("/data/birds", "/data/aves", "/data/birds"):
        begun(storage, "birds", made(), place)
    existing = existing_studies(storage)
    assert list(existing) == ["foreign", "interrupted", "birds"]
    assert [study.empty for study in existing.values()] == [False, True, False]
    assert existing["birds"] == ExistingStudy(made(), ("/data/birds", "/data/aves"), derived=True)
    assert [study.fingerprint for study in existing.values()] == ["", "", ONE]


def test_a_study_named_after_a_link_is_found_by_the_real_path() -> None:
    there = {"latest": ExistingStudy(made(), ("/data/birds",), derived=True)}
    assert derived_name("/elsewhere/birds", made(), there) == "latest"
