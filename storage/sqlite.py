"""SQLite, set up for one writer and many readers in other processes.

Optuna's own set-up is safe but slow, and lets a reader and a writer lock one another out. Here
every connection gets the pragmas that were measured to help, the writer takes SQLite's write lock
when its transaction begins rather than in the middle of it, and readers cannot write.
"""

import fcntl
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

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
    "locking protocol": "is on a file system without locks; name one on a local disk: --storage",
    "disk I/O": "cannot be read or written; check the disk, or name a local one: --storage",
}
_LONGEST_NAME = 255 - len("-journal")  # bytes: SQLite adds that to the name of the file
_LONGEST_PATH = 500  # bytes of an absolute path; SQLite takes no more than 512


def advice(said: str) -> str | None:
    """What is the matter and what to do, where SQLite said ``said``; None if we do not know."""
    return next((advice for part, advice in _ADVICE.items() if part in said), None)


def check_file(path: Path, *, write: bool, timeout: float) -> None:
    """See that ``path`` is a sound database, or, with ``write``, that one can be made there.

    Raises:
        StorageError: It is not.
        sqlite3.Error: SQLite says that it is not.
    """
    absolute = os.fsencode(path.absolute())
    if len(os.fsencode(path.name)) > _LONGEST_NAME or len(absolute) > _LONGEST_PATH:
        raise StorageError(
            f"{path} is too long for SQLite, which takes {_LONGEST_NAME} bytes of a name and "
            f"{_LONGEST_PATH} of a path; name a shorter one with --storage"
        )
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder; name the database file in it")
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise StorageError(f"no database at {path}; run `make search` first")
    except OSError as error:
        raise StorageError(f"no database can be at {path}: {error.strerror}") from error
    opened = sqlite3.connect(path, timeout) if write else Reader(path, timeout)()
    with closing(opened) as connection:
        if write:
            # Kept in the file, so set once, here; the other pragmas are each connection's own.
            # Alone, because SQLite does not wait for a lock when it changes this.
            with alone(path):
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise StorageError(
                    f"{path} cannot have a write-ahead log, as on some network shares; name a "
                    "database on a local disk with --storage"
                )
        # Reads the whole file: 0.1 s for 40 MB.
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StorageError(f"{path} {_ADVICE['malformed']} ({' '.join(found.split())})")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out of the same block for the same folder.

    The lock is on the folder, because SQLite's own locks on the file would be lost if it were
    opened and closed here. A file system without such locks (Lustre without ``-o flock``, NFS
    without lockd) keeps nobody out: two processes that make the same database at the same moment
    may then see one of them fail.

    Raises:
        StorageError: The folder cannot be opened.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"cannot open the folder {path.parent}: {error.strerror}") from error
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def may_write(path: Path) -> bool:
    """Whether this user may write the database at ``path``, and what SQLite keeps beside it."""
    return _allowed(path, os.W_OK) and _allowed(path.parent, os.W_OK)


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


class Reader:
    """Connects to a database for reading, whether or not this user may write beside it.

    SQLite makes files beside a database in order to read it. Where that is not allowed, or would
    leave files that the database's owner may not write, it is read as it stands if no other file
    belongs to it; beside a live writer, together with the writer's files; and else, where a
    writer was killed, from a copy.

    Args:
        path: The database.
        timeout: Seconds to wait for another process's lock.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._copy = Path()
        self._copied: object = None  # what it is a copy of

    def __call__(self) -> sqlite3.Connection:
        """A connection; it may be used by any thread.

        Raises:
            StorageError: There is no room for a copy.
            sqlite3.Error: SQLite cannot read it.
        """
        if may_write(self._path) or not _allowed(self._path, os.R_OK):
            return self._connect(self._path, "rwc")
        if not self._beside():
            return self._connect(self._path, "ro&immutable=1")
        try:
            return self._connect(self._path, "ro")
        except sqlite3.Error as error:
            if "locked" in str(error):  # a writer lives
                raise
            return self._connect(self._copied_to(), "rwc")

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        uri = f"file://{quote(os.fsencode(path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, self._timeout, check_same_thread=False, uri=True)
        try:
            connection.execute("PRAGMA schema_version").fetchone()  # it is opened only now
        except BaseException:
            connection.close()
            raise
        return connection

    def _beside(self) -> list[Path]:
        """The files, not empty, that hold a part of what the database holds."""
        files = (self._path.with_name(f"{self._path.name}{end}") for end in ("-wal", "-journal"))
        return [file for file in files if file.is_file() and file.stat().st_size]

    def _copied_to(self) -> Path:
        """A copy of the database, as old as its newest change."""
        try:
            files = [self._path, *self._beside()]
            now = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
            if self._copied != now:
                folder = tempfile.mkdtemp(prefix="treino-")
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                for file in files:
                    shutil.copyfile(file, Path(folder) / file.name)
                self._copy, self._copied = Path(folder) / self._path.name, now
        except OSError as error:
            raise StorageError(
                f"{self._path} can only be read from a copy, because its folder cannot be "
                f"written and its writer was killed; the copy failed: {error.strerror or error}"
            ) from error
        return self._copy


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
