"""Which study a search is about where none was named: the same images, the same study."""

import os
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.study.names import derived_name, plain_name
from storage.engine import open_storage
from storage.files import checked_name
from storage.study import CONTINUED_BY, MADE_BY, MADE_WITH, MadeStudy, made_studies

ONE, OTHER = "1" * 16, "2" * 16


def made(fingerprint: str = ONE, name: str = "any", **others: str) -> dict[str, str]:
    return {"data": f"{name} {fingerprint}", "epochs": "3", **others}


def study(with_: Mapping[str, str], *places: str) -> MadeStudy:
    return MadeStudy(with_, places, empty=False)


FOREIGN = MadeStudy({}, (), empty=False)


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
        there = {"birds": study(made(epochs="9"))}
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
        assert derived_name("/data/aves", made(epochs="9"), there) == "aves"
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
        interrupted = MadeStudy({}, (), empty=True)
        assert derived_name("birds", made(), {"birds": interrupted}) == "birds"


def test_studies_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "x.db"), write=True)
    for number, value in enumerate(("torch", 3, ["a"], {"data": 5})):
        study = optuna.create_study(study_name=f"foreign {number}", storage=storage)
        for name in (MADE_WITH, MADE_BY, CONTINUED_BY):
            study.set_user_attr(name, value)
    assert derived_name("birds", {"data": "birds 1f"}, made_studies(storage)) == "birds"
    storage.engine.dispose()


def test_a_study_named_after_a_link_is_found_by_the_real_path() -> None:
    made = {"data": "birds 1f", "epochs": "2"}
    there = {"latest": MadeStudy(made, ("/data/birds",), empty=False, derived=True)}
    assert derived_name("/elsewhere/birds", made, there) == "latest"
