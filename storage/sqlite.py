"""SQLite, set up for one writer and many readers in other processes.

Optuna's own set-up is safe but slow, and lets a reader and a writer lock one another out. Here
every connection gets the pragmas that were measured to help, the writer takes SQLite's write lock
when its transaction begins rather than in the middle of it, and readers cannot write.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, event

from storage.engine import StorageError

# What SQLite says, by a part of it, and what that means for the user. Codes would be firmer
# ground, but Python 3.10 does not pass them on.
_ADVICE = {
    "is not a database": "is not an SQLite database; name another file, or move this one away",
    "malformed": "is damaged; put back a copy, or save what can be read with `sqlite3 … .recover`",
    "readonly": "cannot be written; check the permissions of the file and of its folder",
    "unable to open": "cannot be opened; check the permissions of the file and of its folder",
    "locked": "is held by another process; end that process, or wait until it is done",
    "is full": "cannot grow, the disk is full; free some space and start again",
}


def advice(said: str) -> str | None:
    """What is the matter and what to do, where SQLite said ``said``; None if we do not know."""
    return next((advice for part, advice in _ADVICE.items() if part in said), None)


def check_file(path: Path, *, write: bool, timeout: float) -> None:
    """See that ``path`` is a sound database, or, with ``write``, that one can be made there.

    Raises:
        StorageError: It is not.
        sqlite3.Error: SQLite says that it is not.
    """
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder; name the database file in it")
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise StorageError(f"no database at {path}; run `make search` first")
    except OSError as error:
        raise StorageError(f"no database can be at {path}: {error.strerror}") from error
    with closing(sqlite3.connect(path, timeout=timeout)) as connection:
        if write:
            # Kept in the file, so set once, here; the other pragmas are each connection's own.
            # Alone, because SQLite does not wait for a lock when it changes this.
            with alone(path):
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise StorageError(f"{path} cannot have a write-ahead log; use a local disk")
        # Reads the whole file: 0.1 s for 40 MB.
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StorageError(f"{path} {_ADVICE['malformed']} ({' '.join(found.split())})")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out of the same block for the same folder.

    The lock is on the folder, because SQLite's own locks on the file would be lost if it were
    opened and closed here.

    Raises:
        StorageError: The folder cannot be opened.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"cannot open the folder {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_up(engine: Engine, *, write: bool) -> None:
    """Set the pragmas of each connection from here on, and how its transactions begin.

    Not before Optuna has made its tables: while it does, it opens a second connection inside a
    transaction, which would wait for the write lock of the first.
    """

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver is to begin nothing by itself
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        if not write:
            connection.execute("PRAGMA query_only=ON")

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    engine.dispose()  # the connections from before have neither
