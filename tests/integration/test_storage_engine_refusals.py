"""Databases that cannot be used: each is refused in one line."""

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.databases import opened, refusal

pytest_plugins = ["tests.support.database_fixtures"]


def test_a_locked_database(database: Path) -> None:
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "is held by another process" in refusal(database, write=True, timeout=0.05)
        with opened(database, write=False, timeout=0.05):
            pass
        other.rollback()
    with opened(database, write=True, timeout=0.05):
        pass


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_database(tmp_path: Path, *, write: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be asked for its header\n" * 50)
    before = path.read_bytes()
    assert "notes.txt is not an SQLite database" in refusal(path, write=write)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "a byte of its schema"])
def test_a_damaged_database(database: Path, damage: str, *, write: bool) -> None:
    data = database.read_bytes()
    page = 4096
    if damage == "a byte of its schema":  # SQLite repeats it in its message
        place = data.index(b"REFERENCES") + 4
        database.write_bytes(data[:place] + b"\x80" + data[place + 1 :])
    elif damage == "cut":
        database.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // page // 2 * page
        database.write_bytes(data[:middle] + b"\xa5" * page + data[middle + page :])
    assert "treino.db is damaged" in refusal(database, write=write)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path, write=True)
    assert "is a folder" in refusal(f"sqlite:///{tmp_path}", write=True)
    (tmp_path / "file").touch()
    assert "cannot create a database at" in refusal(tmp_path / "file" / "treino.db", write=True)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = 'v99.0.0.a'", "made by a newer Optuna"),
        ("UPDATE alembic_version SET version_num = 'v3.0.0.a'", "optuna storage upgrade --storage"),
        ("UPDATE treino_alembic_version SET version_num = '9999'", "made by a newer treino"),
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_a_database_of_another_version(
    database: Path, statement: str, said: str, *, write: bool
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
    assert said in refusal(database, write=write)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A temporary folder that any user of the machine can enter."""
    folder = Path(tempfile.mkdtemp(prefix="treino "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Nobody's rights inside the block, for tests that run as root, to whom all is permitted."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("write", [True, False])
def test_a_name_too_long_for_what_sqlite_adds_to_it(tmp_path: Path, *, write: bool) -> None:
    assert "too long for SQLite" in refusal(tmp_path / ("é" * 124), write=write)
    deep = tmp_path.joinpath(*["x" * 100] * 5, "treino.db")
    assert "too long for SQLite" in refusal(deep, write=write)
    with opened(tmp_path / ("x" * 247), write=True):
        pass


def test_a_file_that_may_not_be_written(database: Path, open_to_all: Path) -> None:
    path = Path(shutil.copy(database, open_to_all / "treino.db"))
    path.chmod(0o444)
    open_to_all.chmod(0o555)
    try:
        with without_privileges():
            message = refusal(path, write=True)
        assert "check the permissions of the file and of its folder" in message
    finally:
        open_to_all.chmod(0o755)


@pytest.mark.parametrize("write", [True, False])
def test_a_folder_that_may_not_be_entered(open_to_all: Path, *, write: bool) -> None:
    closed = open_to_all / "closed"
    closed.mkdir(0o000)
    with without_privileges():
        message = refusal(closed / "treino.db", write=write)
    closed.chmod(0o700)  # else an ordinary user could not remove it
    assert "Permission denied" in message or "cannot be opened" in message


@pytest.mark.parametrize("write", [True, False])
def test_a_server_that_is_not_there(*, write: bool) -> None:
    message = refusal("postgresql://u:hunter2@127.0.0.1:1/d", write=write)
    assert message.startswith("postgresql+psycopg://u:***@127.0.0.1:1/d cannot be used")
    assert "refused" in message
    assert "hunter2" not in message


def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert ".venv/bin/pip install -e '.[postgresql]'" in refusal("postgresql://h/d", write=True)


def test_a_database_whose_driver_is_missing_is_one_line() -> None:
    assert "needs the driver mysqldb, which is not installed" in refusal(
        "mysql://u:p@h/d", write=True
    )
