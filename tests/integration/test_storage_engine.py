import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from sqlalchemy import URL, Dialect, make_url, text
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.schema import CreateTable

import storage.engine
from storage.engine import database_url, explained, masked
from storage.errors import StorageError
from storage.tables import Tables
from tests.support.databases import opened, refusal

pytest_plugins = ["tests.support.database_fixtures"]
ROOT = Path(storage.engine.__file__).parents[1]


# URLs


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("var/treino.db", "sqlite:///var/treino.db"),
        ("/x/y.sqlite3", "sqlite:////x/y.sqlite3"),
        ("sqlite:///var/treino.db", "sqlite:///var/treino.db"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        (
            "postgresql://u:p@h:5/d?sslmode=require",
            "postgresql+psycopg://u:p@h:5/d?sslmode=require",
        ),
        ("postgresql+psycopg://u@/d?host=/run", "postgresql+psycopg://u@/d?host=%2Frun"),
    ],
)
def test_a_url_for_each_spelling(value: str, url: str) -> None:
    assert database_url(value) == url
    assert database_url(url) == url


def test_the_home_folder_is_known(scrubbed_home: Path) -> None:
    assert make_url(database_url("~/x.db")).database == str(scrubbed_home / "x.db")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "  ",
        "a\nb.db",
        "nul\0.db",
        "byte\udcff.db",
        "sqlite:///byte\udcff.db",
        "/",
        "var/",
        "~nobody-of-that-name/x.db",
        "://",
        "nosql://u:hunter2@h/d",
        "sqlite+aiosqlite:///x.db",
        "sqlite:x.db",
        "sqlite://x.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x.db?uri=true",
        "sqlite:///x.db?mode=ro",
        "sqlite:///50% off? #1/x.db",
        "postgresql:hunter2",
        "postgresql://u:hunter2@h:port/d",
    ],
)
def test_nonsense_is_no_url(value: str) -> None:
    with pytest.raises(StorageError) as caught:
        database_url(value)
    assert str(caught.value).isprintable()
    assert "u:hunter2" not in str(caught.value)


def test_a_home_folder_of_any_bytes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/caf\udce9")
    with pytest.raises(StorageError, match="not UTF-8"):
        database_url("~/x.db")


@given(
    name=st.text(
        st.characters(min_codepoint=32, blacklist_categories=("Cc", "Cs")), min_size=1, max_size=30
    )
)
def test_a_path_comes_back_from_its_url(name: str) -> None:
    path = f"/somewhere/{name}"
    try:
        url = database_url(path)
    except StorageError:
        assert "?" in name or name.endswith("/")
    else:
        assert make_url(url).database == str(Path(path))


@given(password=st.text(min_size=1), key=st.sampled_from(["password", "SSLPASSWORD", "token"]))
def test_no_password_is_shown(password: str, key: str) -> None:
    secret = f"<{password}>"  # so that it is nowhere else in the URL
    typed = f"postgresql://user:{secret}@host/db"
    url = URL.create(
        "postgresql+psycopg",
        "user",
        secret,
        "host",
        5432,
        "db",
        {key: secret, "zone": "x"},
    )
    rendered = url.render_as_string(hide_password=False)
    shown = masked(rendered)

    assert shown == f"postgresql+psycopg://user:***@host:5432/db?{key}=***&zone=x"
    assert secret not in masked(typed)


@pytest.mark.parametrize("url", ["sqlite:////a/b:c@d.db", "postgresql://u@h/d?sslmode=require"])
def test_a_url_without_a_password_is_shown_whole(url: str) -> None:
    assert masked(url) == url


def test_what_a_driver_says_is_told_without_the_password() -> None:
    url = "postgresql://u:p%40ss@h/d"
    with pytest.raises(StorageError) as caught, explained(url):
        raise sqlite3.OperationalError("no entry\n for p%40ss or p@ss")
    assert str(caught.value) == ("postgresql://u:***@h/d cannot be used (no entry for *** or ***)")


# Opening


def pragmas(storage: RDBStorage) -> dict[str, object]:
    names = ["journal_mode", "synchronous", "busy_timeout", "foreign_keys", "query_only"]
    with storage.engine.connect() as connection:
        return {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names}


def test_every_connection_has_the_pragmas(database: Path) -> None:
    expected = {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 60000, "foreign_keys": 1}
    with opened(database, write=True) as writer, opened(database, write=False) as reader:
        assert pragmas(reader) == {**expected, "query_only": 1}
        assert pragmas(writer) == {**expected, "query_only": 0}
        with writer.engine.connect():
            second = writer.engine.raw_connection()  # beside the one that is in use
            assert second.driver_connection is not None
            assert second.driver_connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
            second.close()


def test_a_database_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "{x} 100% #1.db"
    with opened(path, write=True) as storage:
        optuna.create_study(storage=storage, study_name="a")
    assert path.is_file()
    with opened(f"sqlite:///{path}", write=True) as storage:
        assert optuna.get_all_study_names(storage) == ["a"]


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "treino.db"
    path.touch()
    assert "make search" in refusal(path, write=False)
    with opened(path, write=True) as storage:
        assert optuna.get_all_study_names(storage) == []


def test_a_reader_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "treino.db"
    assert refusal(path, write=False) == f"no database at {path}; run `make search` first"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(database: Path) -> None:
    with opened(database, write=False) as storage:
        with pytest.raises(StorageError, match="cannot be written"), explained(storage.url):
            optuna.create_study(storage=storage)
        assert optuna.get_all_study_names(storage) == ["cifar"]


def test_a_plain_optuna_database_gets_our_tables_when_written(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    plain = RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=plain, study_name="theirs")
    plain.engine.dispose()
    assert "has no data of treino's" in refusal(path, write=False)
    with opened(path, write=True):
        pass
    with opened(path, write=False) as storage:
        assert optuna.get_all_study_names(storage) == ["theirs"]


def test_several_processes_make_the_same_database(tmp_path: Path) -> None:
    path = tmp_path / "treino.db"
    code = (
        "import sys, storage.sqlite, storage.migrations, optuna.storages\n"
        "from storage.engine import open_storage\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "open_storage(sys.argv[1], write=True)\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, path],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    assert [child.communicate()[1] for child in children] == [""] * 3
    with opened(path, write=False) as storage:
        assert optuna.get_all_study_names(storage) == []


# Readers beside the writer


def test_a_reader_in_another_process_does_not_wait_for_the_writer(database: Path) -> None:
    code = (
        "import sys, optuna; from storage.engine import open_storage\n"
        "storage = open_storage(sys.argv[1], write=False, timeout=0.1)\n"
        "print(optuna.load_study(study_name='cifar', storage=storage).trials[0].value)\n"
    )
    with opened(database, write=True) as storage, storage.engine.begin() as connection:
        connection.execute(text("UPDATE trial_values SET value = 0.25"))
        reader = subprocess.run(
            [sys.executable, "-c", code, database],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (reader.stdout, reader.stderr) == ("0.5\n", "")
    with opened(database, write=False) as storage:
        assert optuna.load_study(study_name="cifar", storage=storage).trials[0].value == 0.25


def test_the_writer_does_not_wait_for_a_reader(database: Path) -> None:
    with (
        opened(database, write=True, timeout=0.1) as writer,
        opened(database, write=False) as reader,
        reader.engine.begin() as connection,
    ):
        before = connection.execute(text("SELECT count(*) FROM studies")).scalar_one()
        optuna.create_study(storage=writer, study_name="another")
        after = connection.execute(text("SELECT count(*) FROM studies")).scalar_one()
        assert before == after == 1, "a reading transaction sees one state"


def test_a_writer_holds_the_lock_from_the_start(database: Path) -> None:
    with (
        opened(database, write=True) as first,
        opened(database, write=True, timeout=0.05) as second,
    ):
        with first.engine.begin() as connection:
            connection.execute(text("SELECT * FROM studies"))
            with (
                pytest.raises(StorageError, match="held by another process"),
                explained(second.url),
                second.engine.begin(),
            ):
                pass
        with second.engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM studies")).scalar_one() == 1


def test_a_failed_transaction_leaves_nothing(database: Path) -> None:
    with opened(database, write=True) as storage:
        with pytest.raises(ZeroDivisionError), storage.engine.begin() as connection:  # noqa: PT012
            connection.execute(text("CREATE TABLE t (x)"))
            connection.execute(text("DELETE FROM studies WHERE 0"))
            _ = 1 / 0
        with storage.engine.begin() as connection:
            tables = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
        assert "t" not in tables


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_flock_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with opened(tmp_path / "treino.db", write=True) as storage:
            assert pragmas(storage)["journal_mode"] == "wal"


def test_importing_the_module_imports_no_database_library() -> None:
    code = (
        "import sys, storage.engine, storage.files\n"
        "print({'sqlalchemy', 'optuna', 'alembic'} & {*sys.modules})"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert child.stdout == "set()\n"


@pytest.mark.parametrize("dialect", [mysql.dialect(), mssql.dialect(), oracle.dialect()])
def test_our_tables_can_be_told_to_databases_that_no_test_has(dialect: Dialect) -> None:
    for table in Tables.metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=dialect))
