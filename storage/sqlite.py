"""SQLite, set up for one writer and many readers in other processes.

Optuna's default set-up is safe but slow, and lets a reader and a writer block each other. Here
every connection gets the pragmas that were measured to help, the writer takes SQLite's write lock
at the start of its transaction, and readers cannot write.
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
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event

from storage.errors import StorageError

# Parts of SQLite's messages, and what they mean for the user. Error codes would be more robust,
# but Python 3.10 does not expose them.
_ADVICE = {
    "is not a database": "is not an SQLite database; use another file, or move this one away",
    "malformed": "is damaged; restore a copy, or save what can be read with `sqlite3 … .recover`",
    "readonly": "cannot be written; check the permissions of the file and of its folder",
    "unable to open": "cannot be opened; check the permissions of the file and of its folder",
    "locked": "is held by another process; end that process, or wait until it is done",
    "is full": "cannot grow, the disk is full; free some space and start again",
    "locking protocol": "is on a file system without locks; use one on a local disk: --storage",
    "disk I/O": "cannot be read or written; check the disk, or name a local one: --storage",
}
_LONGEST_NAME = 255 - len("-journal")  # bytes: SQLite adds that to the name of the file
_LONGEST_PATH = 500  # bytes of an absolute path; SQLite takes no more than 512


def advice(said: str) -> str | None:
    """What is wrong and what to do, by SQLite's message ``said``; None if unknown."""
    return next((advice for part, advice in _ADVICE.items() if part in said), None)


def check_file(path: Path, *, write: bool, timeout: float) -> None:
    """Check that ``path`` is an intact database, or, with ``write``, that one can be created.

    Raises:
        StorageError: It is not.
        sqlite3.Error: SQLite reports that it is not.
    """
    absolute = os.fsencode(path.absolute())
    if len(os.fsencode(path.name)) > _LONGEST_NAME or len(absolute) > _LONGEST_PATH:
        raise StorageError(
            f"{path} is too long for SQLite, which accepts {_LONGEST_NAME} bytes of a name and "
            f"{_LONGEST_PATH} of a path; use a shorter one with --storage"
        )
    try:
        if path.is_dir():
            raise StorageError(f"{path} is a folder; name the database file in it")
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise StorageError(f"no database at {path}; run `make search` first")
    except OSError as error:
        raise StorageError(f"cannot create a database at {path}: {error.strerror}") from error
    try:
        _check_content(path, write=write, timeout=timeout)
    except UnicodeDecodeError as error:  # SQLite's message repeats what is damaged
        said = " ".join(str(error.object, "utf-8", "backslashreplace").split())
        raise StorageError(f"{path} {_ADVICE['malformed']} ({said})") from error
    except sqlite3.DatabaseError as error:
        if str(error):
            raise
        # Python 3.10 leaves out a message that it cannot decode.
        raise StorageError(f"{path} {_ADVICE['malformed']}") from error


def _check_content(path: Path, *, write: bool, timeout: float) -> None:
    opened = sqlite3.connect(path, timeout=timeout) if write else Reader(path, timeout)()
    with closing(opened) as connection:
        if write:
            # Stored in the file, so set once, here; the other pragmas are per connection. Under
            # an exclusive lock, because SQLite does not wait for one when it changes this.
            with alone(path):
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise StorageError(
                    f"{path} cannot have a write-ahead log, as on some network shares; use a "
                    "database on a local disk with --storage"
                )
        # Reads the whole file: 0.1 s for 40 MB.
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StorageError(f"{path} {_ADVICE['malformed']} ({' '.join(verdict.split())})")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out of the same block for the same folder.

    The lock is on the folder, because opening and closing the file here would drop SQLite's own
    locks on it. A file system without such locks (Lustre without ``-o flock``, NFS without lockd)
    excludes nobody: of two processes that create the same database at once, one may fail.

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
    """Whether this user may write the database at ``path`` and SQLite's files beside it."""
    return _allowed(path, os.W_OK) and _allowed(path.parent, os.W_OK)


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


class Quick(sqlite3.Connection):
    """A connection that does not wait for the disk at each commit.

    With a write-ahead log, that loses the latest commits at most, when the machine stops. Optuna
    creates its tables one by one, and would wait for each.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA synchronous=NORMAL")


class Reader:
    """Connects to a database for reading, whether or not this user may write beside it.

    SQLite creates files beside a database to read it. Where that is not allowed, or would leave
    files that the database's owner may not write, there are three cases. If no other file belongs
    to the database, it is read as it is. Beside a live writer, it is read together with the
    writer's files. After a killed writer, it is read from a copy.

    Args:
        path: The database.
        timeout: Seconds to wait for another process's lock.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._copy = Path()
        self._copied: object = None  # state of the files that were copied

    def __call__(self) -> sqlite3.Connection:
        """A connection that any thread may use.

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
            if "locked" in str(error):  # a writer is alive
                raise
            return self._connect(self._copied_to(), "rwc")

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        uri = f"file://{quote(os.fsencode(path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, timeout=self._timeout, check_same_thread=False, uri=True)
        try:
            connection.execute("PRAGMA schema_version").fetchone()  # opens the file only now
        except BaseException:
            connection.close()
            raise
        return connection

    def _beside(self) -> list[Path]:
        """SQLite's non-empty files beside the database that contain part of its data."""
        files = (self._path.with_name(f"{self._path.name}{end}") for end in ("-wal", "-journal"))
        return [file for file in files if file.is_file() and file.stat().st_size]

    def _copied_to(self) -> Path:
        """An up-to-date copy of the database."""
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
    """Set the pragmas and the start of transactions for connections from here on.

    Call it after Optuna has created its tables: meanwhile it opens a second connection inside a
    transaction, which would wait for the write lock of the first.
    """

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        connection.execute("PRAGMA foreign_keys=ON")
        if not write:
            connection.execute("PRAGMA query_only=ON")

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    engine.dispose()  # earlier connections have neither
