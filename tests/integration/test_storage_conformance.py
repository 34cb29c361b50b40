"""Optuna's own conformance suite, over a storage that `open_storage` opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from storage.engine import open_storage


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "treino.db"
    open_storage(str(path), write=True).engine.dispose()
    return path


class TestOurStorage(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path, empty: Path) -> Iterator[RDBStorage]:
        storage = open_storage(str(shutil.copy(empty, tmp_path / "treino.db")), write=True)
        yield storage
        storage.engine.dispose()
