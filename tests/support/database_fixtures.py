"""Databases to test with: SQLite, and PostgreSQL where its server is installed.

Its fixtures are for modules that name this one in ``pytest_plugins``.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import MetaData

from storage.tables import Records
from tests.support.databases import opened, server_database


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The folder of the socket of a throw-away PostgreSQL server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not (found or shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL's server is not installed")
    programs = (found[-1] if found else Path(shutil.which("pg_ctl") or "")).parent
    folder = Path(tempfile.mkdtemp(prefix="treino-pg-"))
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    group = pwd.getpwnam(user).pw_gid
    shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", folder / "data", *arguments],
            cwd=folder,
            user=user if os.geteuid() == 0 else None,
            group=group if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            check=True,
        )

    run("initdb", "--username=treino", "--auth=trust", "--encoding=UTF8", "--no-locale", "-N")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-w", "-s", "-l", str(folder / "log"), "-o", options, "start")
    yield str(folder)
    run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")
    shutil.rmtree(folder)


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
