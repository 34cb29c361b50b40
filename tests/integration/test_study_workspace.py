"""Where the images of a study are found."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from data.cache import Cache
from data.catalog import load
from data.dataset import DataError, Dataset
from data.progress import silent
from search.settings import Settings
from search.spaces.builtin import make_space
from search.spaces.training_defaults import TrainingDefaults
from search.study.opening import Opening, open_study
from search.study.recipe import StudyRecipe
from search.study.workspace import Workspace, data_of
from tests.support.pictures import image_folder


class TestImagesOfAStudy:
    """They are found where they are now, and under the fingerprint that the study knows."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
        monkeypatch.chdir(tmp_path)
        with Workspace.open(Settings(), write=True) as place:
            yield place

    def study(self, place: Workspace, settings: Settings, data: Dataset) -> optuna.Study:
        space = make_space("documents", TrainingDefaults(epochs=settings.epochs), 8)
        recipe = StudyRecipe.of_search(settings, data, space)
        opening = Opening.of_search(settings, data, space)
        return open_study(place.storage, place.study_name(settings, recipe), recipe, opening)[0]

    def opened(self, settings: Settings) -> Dataset:
        return load(settings.data, image_size=8, skip_bad_images=settings.skip_bad_images).dataset

    def test_moved_images_without_a_cache(self, place: Workspace, tmp_path: Path) -> None:
        before, after = (
            Settings(data=str(tmp_path / name), image_size=8) for name in ("birds", "aves")
        )
        image_folder(Path(before.data))
        study = self.study(place, before, self.opened(before))
        shutil.move(before.data, after.data)
        shutil.rmtree(Cache.default().root)
        with pytest.raises(DataError, match="if they were moved, first resume the search"):
            data_of(study, silent)
        again = self.study(place, after, self.opened(after))
        assert again.study_name == study.study_name == "birds"
        shutil.rmtree(Cache.default().root)
        assert data_of(again, silent).name == "aves"
        shutil.move(after.data, before.data)
        shutil.rmtree(Cache.default().root)
        assert data_of(again, silent).name == "birds"

    def test_a_study_that_counted_images_that_were_left_out(
        self, place: Workspace, tmp_path: Path
    ) -> None:
        settings = Settings(data=str(tmp_path / "birds"), image_size=8, skip_bad_images=True)
        image_folder(Path(settings.data))
        (tmp_path / "birds/dark/bad.png").touch()
        data = self.opened(settings)
        (earlier,) = data.formerly
        study = self.study(place, settings, replace(data, fingerprint=earlier))
        assert place.as_studied(settings, data).fingerprint == earlier
        assert place.as_studied(replace(settings, study="new"), data) == data
        shutil.rmtree(Cache.default().root)
        assert data_of(study, silent).fingerprint == earlier


def test_the_newest_study_is_the_one_whose_trials_started_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = load(str(image_folder(tmp_path / "birds")), image_size=8).dataset
    space = make_space("documents", TrainingDefaults(epochs=1), 8)
    with Workspace.open(Settings(), write=True) as place:
        assert place.newest_study() is None
        for name in ("first", "second", "first"):
            settings = Settings(data="birds", image_size=8, study=name)
            opening = Opening.of_search(settings, data, space)
            recipe = StudyRecipe.of_search(settings, data, space)
            study, *_ = open_study(place.storage, name, recipe, opening)
            study.ask()
            newest = place.newest_study()
            assert newest is not None
            assert newest.study_name == name
