"""What tests of databases share; their fixtures are in `database_fixtures`."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text

from storage.engine import open_storage
from storage.errors import StorageError

FIGURES = {
    "epoch": 1,
    "loss": 2.0,
    "accuracy": 0.25,
    "val_loss": 1.5,
    "val_accuracy": 0.5,
    "penalised_loss": 2.5,
    "penalised_val_loss": 1.75,
    "learning_rate": 0.001,
    "seconds": 12.0,
}
ATTRIBUTES = {"place": "/data/birds", "recipe": {"images": "birds 5f1e"}}


def server_database(host: str, name: str) -> str:
    engine = create_engine(f"postgresql+psycopg://treino@/postgres?host={host}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"postgresql://treino@/{name}?host={host}"


@contextmanager
def opened(url: object, *, write: bool = True, **options: float) -> Iterator[RDBStorage]:
    storage = open_storage(str(url), write=write, **options)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def refusal(url: object, *, write: bool, timeout: float = 5) -> str:
    with pytest.raises(StorageError) as caught:
        open_storage(str(url), write=write, timeout=timeout)
    message = str(caught.value)
    assert "\n" not in message
    return message
