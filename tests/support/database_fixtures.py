"""Databases to test with: SQLite, and PostgreSQL where its server is installed.

Its fixtures are for modules that name this one in ``pytest_plugins``.
"""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import MetaData

from storage.tables import Records
from tests.support.databases import opened, server_database
from tests.support.servers import Server, programs


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A throw-away PostgreSQL server."""
    installed = programs()
    if installed is None:
        pytest.skip("PostgreSQL's server is not installed")
    server = Server(installed)
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture(scope="session")
def server(postgresql: Server) -> str:
    """The folder of the server's socket."""
    return postgresql.host


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        request.getfixturevalue("server")
    return str(request.param)


@pytest.fixture
def url(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    """The URL of a database that is not there yet, or holds nothing."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'treino.db'}"
    return server_database(request.getfixturevalue("server"), "fresh")


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RDBStorage]:
    if kind == "sqlite":
        url = str(tmp_path_factory.mktemp("shared") / "treino.db")
    else:
        url = server_database(request.getfixturevalue("server"), "shared")
    with opened(url) as storage:
        yield storage


@pytest.fixture
def storage(shared: RDBStorage) -> RDBStorage:
    """A storage without a row: made once and emptied for each test, which is quicker."""
    tables = MetaData()
    tables.reflect(shared.engine)
    with shared.engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            if "version" not in table.name:
                connection.execute(table.delete())
    return shared


@pytest.fixture
def elsewhere(storage: RDBStorage) -> Iterator[RDBStorage]:
    """The same database, as another process has it open."""
    with opened(storage.url) as other:
        yield other


@pytest.fixture
def records(storage: RDBStorage) -> Records:
    return Records(storage.engine)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with one study of one trial, closed."""
    path = tmp_path / "treino.db"
    with opened(path, write=True) as storage:
        study = optuna.create_study(storage=storage, study_name="cifar")
        study.tell(study.ask(), 0.5)
    return path
