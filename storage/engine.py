"""Open a database by URL: check it, set it up, and report its errors in one line."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from sqlalchemy import URL

    from storage.patient import PatientStorage
from storage.errors import StorageError

BUSY_SECONDS = 60.0
"""Seconds that a connection waits for another process's transaction."""
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_SUPPORTED = "a file for SQLite (var/treino.db) or a URL (postgresql://user@host/database)"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Up to the last @, because an unescaped password may contain one: better to mask too much than
# to show a part of a password.
_PASSWORD = re.compile(r"(?<=://)(?P<before>[^:/?#@]*:)(?P<secret>.*)(?=@)", re.DOTALL)
_PASSWORD_LIKE = re.compile(
    r"(?P<before>[?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)(?P<secret>[^&]*)", re.IGNORECASE
)
# Any number that is the same in every treino.
_ADVISORY_LOCK = 7_472_656_964


def masked(url: str) -> str:
    """``url`` with its password, and query values that look like one, as ``***``."""
    return _PASSWORD_LIKE.sub(r"\g<before>***", _PASSWORD.sub(r"\g<before>***", url))


def database_url(value: str) -> str:
    """The SQLAlchemy URL for ``value``, which is a URL or the path of an SQLite file.

    Args:
        value: ``var/treino.db``, ``~/x.sqlite3``, ``sqlite:///var/treino.db``,
            ``postgresql://user:password@host/database``. The short names of PostgreSQL become
            ``postgresql+psycopg``, the driver that treino installs. Any other server that
            SQLAlchemy and Optuna support is accepted, if its driver is installed.

    Raises:
        StorageError: It is neither, or SQLAlchemy does not know the database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    if not value.strip():
        raise StorageError(f"{value!r} is not a database; give {_SUPPORTED}")
    _check_printable(value)
    if "://" not in value:
        return _file_url(value)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError) as error:
        raise StorageError(f"{masked(value)} is not a database URL; give {_SUPPORTED}") from error
    driver = _DRIVERS.get(url.drivername, url.drivername)
    try:
        url.set(drivername=driver).get_dialect()
    except (NoSuchModuleError, ArgumentError) as error:
        raise StorageError(f"{url.drivername!r} is not a database; give {_SUPPORTED}") from error
    if driver.startswith("sqlite+"):
        raise StorageError(f"{url.drivername} is not the driver that treino uses: sqlite:///path")
    if driver != "sqlite":
        return url.set(drivername=driver).render_as_string(hide_password=False)
    if url.host or url.username:
        raise StorageError(f"{masked(value)} lacks a slash: a file is sqlite:///path")
    # SQLAlchemy drops what follows a question mark if it is not an option: another file name.
    if "?" in value or not url.database or url.database.startswith((":memory:", "file:")):
        raise StorageError(f"{value} is not a plain file; give sqlite:///path, without options")
    return value


def open_storage(url: str, *, write: bool, timeout: float = BUSY_SECONDS) -> "PatientStorage":
    """Open the database at ``url`` for Optuna and for treino's tables (on ``storage.engine``).

    With ``write``, a missing SQLite file is created with its folder, and treino's tables are
    migrated to the newest version. Each SQLite transaction then holds the write lock from its
    start, so a thread must end one before it begins another. Without ``write``, nothing is
    created, readers and the writer do not wait for each other, and the connection is read-only.

    Args:
        url: See `database_url`.
        write: Whether this process will write.
        timeout: Seconds to wait for another process's lock, or for a server.

    Raises:
        StorageError: The database is missing, unreachable, locked, damaged, not treino's, or made
            by a newer version of Optuna or treino.
    """
    from sqlalchemy import NullPool, make_url

    from storage import sqlite

    url = database_url(url)
    address = make_url(url)
    options: dict[str, Any]
    alone: AbstractContextManager[None]
    with explained(url):
        if address.database is not None and address.get_backend_name() == "sqlite":
            path = Path(address.database)
            sqlite.check_file(path, write=write, timeout=timeout)
            options = {"connect_args": {"timeout": timeout, "factory": sqlite.Quick}}
            if not write and not sqlite.may_write(path):
                # Each transaction reads anew: connections like these do not see changes.
                options = {"creator": sqlite.Reader(path, timeout), "poolclass": NullPool}
            alone = sqlite.alone(path)
        else:
            _check_driver(address)
            options = {"pool_pre_ping": True}
            alone = nullcontext()
            if address.get_backend_name() == "postgresql":
                options["connect_args"] = {"connect_timeout": ceil(timeout)}
                alone = _alone_on_server(address, options)
        if not write:
            return _opened(address, options, write=False)
        with alone:  # two processes that create the tables at once would both fail
            return _opened(address, options, write=True)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn database errors inside the block into a `StorageError` that names ``url``."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from storage.sqlite import advice

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        said = " ".join(str(getattr(cause, "orig", cause)).split())
        for pattern in (_PASSWORD, _PASSWORD_LIKE):
            for secret in filter(None, (match["secret"] for match in pattern.finditer(url))):
                said = said.replace(secret, "***").replace(unquote(secret), "***")
        what = advice(said) or "cannot be used"
        raise StorageError(f"{masked(url)} {what} ({said})") from error


def _check_printable(value: str) -> None:
    if _UNPRINTABLE.search(value):
        raise StorageError(
            f"{masked(value)!a} is not a database: it contains control characters, or bytes "
            f"that are not UTF-8, which a URL cannot contain; give {_SUPPORTED}"
        )


def _file_url(path: str) -> str:
    from sqlalchemy import URL, make_url

    if re.match(r"[a-z]\w+(\+\w+)?:", path):
        raise StorageError(f"{masked(path)} is neither a path nor a URL; give {_SUPPORTED}")
    if path.endswith("/"):
        raise StorageError(f"{path} is a folder; name the database file in it")
    try:
        database = str(Path(path).expanduser())
    except RuntimeError as error:
        raise StorageError(f"{path}: there is no such user") from error
    _check_printable(database)  # for example, the home folder
    url = URL.create("sqlite", database=database).render_as_string()
    if make_url(url).database != database:
        raise StorageError(f"{path}: the name of a database file cannot hold '?'")
    return url


def _check_driver(address: "URL") -> None:
    try:
        address.get_dialect().import_dbapi()
    except ImportError as error:
        name = address.get_driver_name()
        raise StorageError(
            f"{address.get_backend_name()} needs the driver {name}, which is not installed: "
            + (
                "in treino's folder, run .venv/bin/pip install -e '.[postgresql]'"
                if name == "psycopg"
                else "install it into .venv"
            )
        ) from error


@contextmanager
def _alone_on_server(address: "URL", options: dict[str, Any]) -> Iterator[None]:
    from sqlalchemy import create_engine, func, select

    engine = create_engine(address, **options)
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield
    finally:
        engine.dispose()


def _opened(address: "URL", options: dict[str, Any], *, write: bool) -> "PatientStorage":
    from storage import migrations, sqlite
    from storage.patient import PatientStorage

    url = address.render_as_string(hide_password=False)
    is_sqlite = address.get_backend_name() == "sqlite"
    if not write and address.get_backend_name() == "postgresql":
        options = {**options, "execution_options": {"postgresql_readonly": True}}
    _check_our_tables(address, options, write=write)
    storage = PatientStorage(
        url.replace("{", "{{").replace("}", "}}"),  # Optuna formats it as a template
        engine_kwargs=options,
        skip_table_creation=not write,
        skip_compatibility_check=True,  # done below, with messages of our own
    )
    try:
        _check_optuna(storage, masked(url))
        if is_sqlite:
            sqlite.set_up(storage.engine, write=write)
        if write:
            migrations.upgrade(storage.engine)
    except BaseException:
        storage.engine.dispose()
        raise
    return storage


def _check_optuna(storage: "PatientStorage", name: str) -> None:
    version = storage.get_current_version()
    if version == storage.get_head_version():
        return
    if version not in storage.get_all_versions():
        raise StorageError(f"{name} was made by a newer Optuna ({version}); update Optuna")
    raise StorageError(
        f"{name} was made by an older Optuna ({version}); "
        f"update it: optuna storage upgrade --storage '{name}'"
    )


def _check_our_tables(address: "URL", options: dict[str, Any], *, write: bool) -> None:
    from sqlalchemy import create_engine, inspect

    from storage.migrations import Standing, standing

    engine = create_engine(address, **options)
    try:
        with engine.connect() as connection:
            state = standing(connection)
            empty = not inspect(connection).has_table("studies")
    finally:
        engine.dispose()
    name = masked(address.render_as_string(hide_password=False))
    if state is Standing.NEWER:
        raise StorageError(
            f"{name} was made by a newer treino; update treino, or use another database"
        )
    if not write and (empty or state is Standing.ABSENT):
        raise StorageError(f"{name} has no data of treino's yet; run `make search` first")
