"""What a study remembers of its space, and how the space is made again from it."""

from pathlib import Path

import numpy as np
import optuna
import pytest

from data.dataset import Dataset, Split
from search.settings import Settings
from search.space import SPACES, Space, make_space
from search.workspace import made_with, space_of
from storage.study import MADE_BY, MADE_WITH

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
