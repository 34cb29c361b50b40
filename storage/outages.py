"""Outages of the database: work on it is tried again until the database is back.

A restart of the server, a failover, a lost network and a file that another process has locked look
the same from here: a unit of work fails. Inside `Outages.endured`, it is tried again every second.
Its commit may have taken effect with only the answer lost, so a unit must change nothing when it
is repeated. Elsewhere an error is raised at once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

SAID_AFTER = 5.0  # seconds; shorter outages are not worth a line
_PAUSE = 1.0  # seconds between attempts, and that one waits for another process's lock
# SQLSTATE classes and codes: connection lost, server stops or starts, a standby after a failover.
_OF_OUTAGES = ("08", "57P", "25006", "53300")


@dataclass(frozen=True)
class _Patience:
    seconds: float
    say: Callable[[str], None]
    stopped: Callable[[], bool]


class Outages:
    """Endures the outages of one database. For use from one thread.

    Attributes:
        meanwhile: Called every second of an outage; nothing by default.
    """

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = _nothing
        self._patience: _Patience | None = None
        self._working = False

    @contextmanager
    def endured(
        self,
        engine: Engine,
        patience: float,
        *,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> Iterator[None]:
        """Endure outages in the block, each for up to ``patience`` seconds.

        Args:
            engine: The engine of the database.
            patience: Seconds; 0 to raise errors at once.
            say: Called with a line when an outage has lasted `SAID_AFTER` seconds, and at its end.
            stopped: Whether to wait no longer; asked every second.
        """

        def connected(connection: object, _record: object) -> None:
            # Else an attempt waits for another process for a minute, and Ctrl-C with it.
            connection.execute(f"PRAGMA busy_timeout={_PAUSE * 1000:.0f}")  # type: ignore[attr-defined]

        is_sqlite = bool(patience) and engine.dialect.name == "sqlite"
        if is_sqlite:
            event.listen(engine, "connect", connected)
            engine.dispose()  # earlier connections wait for longer
        self._patience = _Patience(patience, say, stopped)
        try:
            yield
        finally:
            self._patience = None
            if is_sqlite:
                event.remove(engine, "connect", connected)
                engine.dispose()

    def endure(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, tried again while the database is out.

        Work within work is part of the outer one, which is repeated as a whole.
        """
        if self._working or self._patience is None:
            return work()
        self._working = True
        try:
            return self._endured(work, self._patience)
        finally:
            self._working = False

    def _endured(self, work: Callable[[], T], patience: _Patience) -> T:
        begun, said = time.monotonic(), False
        while True:
            try:
                result = work()
            except Exception as error:
                if not is_outage(error):
                    raise
                lasted = time.monotonic() - begun
                if lasted >= patience.seconds or patience.stopped():
                    raise
                if lasted >= SAID_AFTER and not said:
                    said = True
                    patience.say(
                        f"database unreachable for {lasted:.0f} s, retrying; "
                        "workers keep their epochs"
                    )
                time.sleep(_PAUSE)
                self.meanwhile()
            else:
                if said:
                    patience.say(f"database is back after {time.monotonic() - begun:.0f} s")
                return result


def _nothing() -> None:
    pass


def is_outage(error: BaseException) -> bool:
    """Whether a database error may pass by itself, by the first database error in its causes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    if cause is None:
        return False
    driver = cause.orig
    code = getattr(driver, "sqlstate", None)
    if code:
        return str(code).startswith(_OF_OUTAGES)
    # Without a code: a connection that could not be made, or broke; or SQLite.
    return cause.connection_invalidated or _is_locked(str(driver)) or _is_refused(driver)


def _is_locked(said: str) -> bool:
    return "database is locked" in said or "database table is locked" in said


def _is_refused(driver: object) -> bool:
    """Whether PostgreSQL's driver could not connect."""
    kind = type(driver)
    return kind.__module__.startswith("psycopg") and kind.__name__ in (
        "OperationalError",
        "ConnectionTimeout",
    )
