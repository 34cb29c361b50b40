"""The tuner's lease: one process at a time searches a study.

Held as long as its holder lives. Whether a holder on this host lives is asked of the operating
system: its process id, and when that process started, because ids come round again. A holder on
another host is taken to live while it has renewed the lease within `STALE_SECONDS`. All moments
are read from one clock, the database's. Should that clock jump, a renewal more than
`STALE_SECONDS` in the future counts as stale, like one that long past: a live holder puts it
right at its next renewal, at most `RENEW_SECONDS` later, or learns then that it lost the lease.
"""

import os
import socket
import time
import uuid
from datetime import datetime
from types import TracebackType

import psutil
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.engine import StorageError, explained
from storage.tables import Lease

RENEW_SECONDS = 10.0
"""How often a holder writes that it lives."""

STALE_SECONDS = 60.0
"""How long a holder on another host is believed to live after it last wrote so."""


class LeaseHeld(StorageError):  # noqa: N818 - the name says what is the case
    """Another process searches the study; the message says which, and what to do."""


class StudyLease:
    """The lease of ``study``, as a context manager that acquires and releases it.

    Args:
        engine: The engine of a storage opened for writing.
        study: Name of the study; it need not exist yet.
        renew_seconds: How often `renew` writes.
    """

    def __init__(self, engine: Engine, study: str, renew_seconds: float = RENEW_SECONDS) -> None:
        self._engine = engine
        self._study = study
        self._renew_seconds = renew_seconds
        self._holder = uuid.uuid4().hex
        self._renewed = -float("inf")

    def acquire(self) -> None:
        """Take the lease, over from a holder that is gone if need be.

        Raises:
            LeaseHeld: Its holder lives, or is believed to.
            StorageError: The database refused.
        """
        with explained(str(self._engine.url)):
            try:
                self._take()
            except IntegrityError:
                # On PostgreSQL two processes may both find no lease; the second to write one
                # learns here that it was second, and looks again.
                self._take()
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Write that the holder lives, if ``renew_seconds`` have passed since it last did.

        Cheap enough to be called each turn of a loop.

        Raises:
            LeaseHeld: Another process has taken the lease: stop searching at once.
            StorageError: The database refused.
        """
        if time.monotonic() - self._renewed < self._renew_seconds:
            return
        with explained(str(self._engine.url)), Session(self._engine) as session, session.begin():
            row = session.get(Lease, self._study, with_for_update=True)
            if row is None or row.holder != self._holder:
                taker = "another process, which is done with it" if row is None else _named(row)
                raise LeaseHeld(
                    f"study {self._study!r} was taken over by {taker}; this search must stop"
                )
            row.renewed = _now(session)
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Give the lease back, if it is still this one's."""
        mine = delete(Lease).where(Lease.study == self._study, Lease.holder == self._holder)
        with explained(str(self._engine.url)), self._engine.begin() as connection:
            connection.execute(mine)

    def __enter__(self) -> "StudyLease":
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _take(self) -> None:
        with Session(self._engine) as session, session.begin():
            now = _now(session)
            row = session.get(Lease, self._study, with_for_update=True)
            if row is None:
                # An insert and nothing else: where another process has written the row since,
                # it fails, and a merge would take the lease from a holder that lives.
                row = Lease(study=self._study)
                session.add(row)
            else:
                _check_gone(row, now)
            row.holder = self._holder
            row.host = socket.gethostname()
            row.pid = os.getpid()
            row.process_started = _started(psutil.Process())
            row.acquired = row.renewed = now


def is_held(engine: Engine, study: str) -> bool:
    """Whether a process that lives, or is believed to, has the lease of ``study``."""
    with explained(str(engine.url)), Session(engine) as session, session.begin():
        row = session.get(Lease, study)
        try:
            if row is not None:
                _check_gone(row, _now(session))
        except LeaseHeld:
            return True
    return False


def _check_gone(row: Lease, now: datetime) -> None:
    held = f"study {row.study!r} is being searched by {_named(row)}"
    if row.host == socket.gethostname():
        if _lives(row):
            raise LeaseHeld(f"{held}; wait for it, stop it, or name another STUDY=")
        return
    silent = abs((now - row.renewed).total_seconds())
    if silent < STALE_SECONDS:
        raise LeaseHeld(
            f"{held}, heard of {silent:.0f} s ago; name another STUDY=, stop it, or, if it is "
            f"gone, try again in {STALE_SECONDS - silent:.0f} s"
        )


def _lives(row: Lease) -> bool:
    try:
        process = psutil.Process(row.pid)
        # A zombie has ended; only its parent has not yet asked how.
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(_started(process) - row.process_started) < 0.5)  # ids do not recur so soon
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # hidden from this user, but there


def _started(process: psutil.Process) -> float:
    # Since boot, as the system counts it: psutil adds the moment of booting, which moves whenever
    # the system's clock is set.
    return float(process.create_time() - psutil.boot_time())


def _named(row: Lease) -> str:
    return f"process {row.pid} on {row.host} since {row.acquired.astimezone():%Y-%m-%d %H:%M}"


def _now(session: Session) -> datetime:
    return session.execute(select(func.now(type_=Lease.renewed.type))).scalar_one()
