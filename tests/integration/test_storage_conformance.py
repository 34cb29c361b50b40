"""Optuna's own conformance suite, over a storage that `open_storage` opened."""

import gc
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, RDBStorage
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

    def test_pickle_storage(self, storage: BaseStorage) -> None:
        with warnings.catch_warnings():
            # Optuna's test does not close the database of the storage that it restores.
            warnings.simplefilter("ignore", ResourceWarning)
            super().test_pickle_storage(storage)
            gc.collect()
