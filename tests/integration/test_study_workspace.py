"""What a study remembers of its space, and how the space is made again from it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from data.cache import Cache
from data.catalog import load
from data.dataset import DataError, Dataset, Split
from data.progress import silent
from search.settings import Settings
from search.spaces.builtin import SPACES, Space, make_space
from search.study.workspace import Workspace, data_of, made_by, made_with, space_of
from storage.study import MADE_BY, MADE_WITH, create_or_check
from tests.support.pictures import image_folder

SIDE = 16
SPLIT = Split(np.zeros((2, SIDE, SIDE, 3), np.uint8), np.zeros(2, np.int32), (2,))
DATA = Dataset("grey", "nowhere", ("grey",), SPLIT, SPLIT, SPLIT, "f00d", Path("nowhere"))


def remembered(space: Space) -> dict[str, str]:
    return made_with(Settings(epochs=space.epochs), DATA, space)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("order", ["together", "folders"])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_study_knows_its_space(name: str, order: str, augment: bool, precision: str) -> None:
    space = make_space(
        name, epochs=7, image_side=SIDE, train_order=order, augment=augment, precision=precision
    )
    study = optuna.create_study()
    study.set_user_attr(MADE_WITH, remembered(space))
    study.set_user_attr(MADE_BY, {"image_size": str(SIDE)})
    assert space_of(study) == space


def test_studies_of_other_spaces_are_told_apart() -> None:
    def memory(name: str = "documents", **choices) -> str:
        return str(remembered(make_space(name, epochs=7, image_side=SIDE, **choices)))

    others = [memory("extended"), memory(augment=True), memory(precision="bfloat16")]
    assert len({memory(), *others}) == 4


def test_a_study_from_before_there_were_these_choices_can_be_gone_on_with() -> None:
    """It remembers five things, and so does a new one that chooses nothing else."""
    space = make_space("documents", epochs=7, image_side=SIDE)
    memory = remembered(space)
    assert memory.keys() == {"data", "space", "epochs", "monitor", "seed"}
    assert memory["space"] == (
        'documents, together: {"batch_norm": [true, false], "batch_size": [32, 64, 128, 256], '
        '"blocks": [2, 4], "dropout_blocks": [0.0, 0.6], "dropout_dense": [0.0, 0.7], '
        '"dropout_first": [0.0, 0.6], "l2_conv": [1e-08, 0.1], "l2_dense": [1e-08, 0.1], '
        '"last_filters": [128, 256, 512], "learning_rate": [0.0001, 0.01]}'
    )


class TestImagesOfAStudy:
    """They are found where they are now, and under the fingerprint that the study knows."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
        monkeypatch.chdir(tmp_path)
        with Workspace.open(Settings(), write=True) as place:
            yield place

    def study(self, place: Workspace, settings: Settings, data: Dataset) -> optuna.Study:
        space = make_space("documents", epochs=settings.epochs, image_side=8)
        made = made_with(settings, data, space)
        name = place.study_name(settings, made)
        return create_or_check(place.storage, name, made, made_by(settings, data, space))[0]

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
