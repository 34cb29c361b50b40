"""What is compared when a study is gone on with: the images, not what they are called."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from storage.engine import database_url, open_storage
from storage.errors import StorageError
from storage.study import create_or_check, fingerprint_of, made_studies

MADE_WITH = {"data": "birds of Brazil 5f1e", "epochs": "3"}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    opened = open_storage(database_url(str(tmp_path / "treino.db")), write=True)
    yield opened
    opened.engine.dispose()


def test_the_same_images_under_another_name_are_the_same(storage: RDBStorage) -> None:
    create_or_check(storage, "birds", MADE_WITH)
    study, created = create_or_check(storage, "birds", {**MADE_WITH, "data": "aves 5f1e"})
    assert not created
    assert study.user_attrs["made_with"] == MADE_WITH


def test_other_images_under_the_same_name_are_refused_with_both(storage: RDBStorage) -> None:
    create_or_check(storage, "birds", MADE_WITH)
    with pytest.raises(
        StorageError, match="data birds of Brazil 5f1e, not birds of Brazil 5f1f: its trials"
    ):
        create_or_check(storage, "birds", {**MADE_WITH, "data": "birds of Brazil 5f1f"})


def test_what_the_studies_were_made_with(storage: RDBStorage) -> None:
    optuna.create_study(storage=storage, study_name="foreign").enqueue_trial({"x": 1})
    optuna.create_study(storage=storage, study_name="interrupted")
    for place in ("/data/birds", "/data/aves", "/data/birds"):
        create_or_check(storage, "birds", MADE_WITH, {"data": place})
    made = made_studies(storage)
    assert list(made) == ["foreign", "interrupted", "birds"]
    assert [study.empty for study in made.values()] == [False, True, False]
    assert made["birds"].places == ("/data/birds", "/data/aves")
    assert fingerprint_of(made["birds"].made_with) == "5f1e"
    assert made["birds"].comparable_with({**MADE_WITH, "data": "5f1e"})
    assert not made["birds"].comparable_with({**MADE_WITH, "epochs": "4"})
    assert not made["foreign"].comparable_with({})
