"""The tuner's lease: one process at a time searches a study.

The lease is held as long as its holder lives. For a holder on this machine the operating system
knows: process id and start time identify it, because ids are reused. This holds only where the
holder's processes are visible: on the same machine, since the same boot, in the same namespace of
process ids. Host names are not enough: containers and cloned machines share them. Any other
holder counts as alive if it renewed the lease within `STALE_SECONDS`. All times are read from one
clock, the database's.

That clock may jump, and a holder may be suspended for long. Then another process takes over the
lease while its holder lives. So each transaction of a holder first checks the lease, and a holder
that has lost it writes nothing more.
"""

import math
import os
import socket
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psutil
from sqlalchemy import Connection, Engine, delete, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from storage.engine import explained
from storage.errors import StorageError
from storage.tables import Lease

RENEW_SECONDS = 10.0
"""Seconds between renewals by a holder."""

STALE_SECONDS = 60.0
"""Seconds that a holder on another host counts as alive after its last renewal."""

# In the host column: separator between host name and process namespace; an unknown namespace.
_APART, _UNKNOWN = " @ ", "?"


class LeaseHeld(StorageError):  # noqa: N818 - the name states the condition
    """Another process has the lease; the message names it and says what to do."""


@dataclass(frozen=True)
class Work:
    """What one process at a time does with a study.

    Attributes:
        told: Its name for the user, with a place for that of the study.
        ending: What the key of its lease has after the study's name.
        instead: What a user may do about a process that has the lease.
    """

    told: str
    ending: str
    instead: str = "wait for it, or stop it"


SEARCH = Work("the search of study {!r}", "", "wait for it, stop it, or name another STUDY=")
RETRAINING = Work("the retraining of study {!r}", "/best")
BASELINE = Work("the training of a baseline", "/best")
PAIRS = Work("the settling of claims of study {!r}", "/pairs")


class StudyLease:
    """The lease of ``study`` for ``work``: a context manager that acquires and releases it.

    Args:
        engine: The engine of a storage opened for writing.
        study: Name of the study; it need not exist yet.
        work: What the process is going to do.
        renew_seconds: How often `renew` writes.
    """

    def __init__(
        self,
        engine: Engine,
        study: str,
        work: Work = SEARCH,
        *,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._engine = engine
        self._study = study + work.ending
        self._told = work.told.format(study)
        self._instead = work.instead
        self._renew_seconds = renew_seconds
        self._holder = uuid.uuid4().hex
        self._renewed = -float("inf")
        self._guarded = False

    def acquire(self) -> None:
        """Acquire the lease; take it over if its holder is gone.

        Until the release, each transaction on the engine raises LeaseHeld once another process
        has taken the lease.

        Raises:
            LeaseHeld: Its holder is alive, or may be.
            StorageError: The database failed.
        """
        with explained(str(self._engine.url)):
            try:
                self._take()
            except IntegrityError:
                # On PostgreSQL two processes may both find no lease. The second writer fails
                # here and checks again.
                self._take()
        self._renewed = _clock()
        if not self._guarded:
            event.listen(self._engine, "begin", self._check_mine)
            self._guarded = True

    def renew(self) -> None:
        """Renew the lease, if ``renew_seconds`` have passed since the last renewal.

        Cheap enough to call on every turn of a loop.

        Raises:
            LeaseHeld: Another process has taken the lease: stop searching at once.
            StorageError: The database failed.
        """
        if _clock() - self._renewed < self._renew_seconds:
            return
        with explained(str(self._engine.url)), Session(self._engine) as session, session.begin():
            self._check_mine(session.connection())
            row = session.get_one(Lease, self._study, with_for_update=True)
            row.renewed = _now(session)
        self._renewed = _clock()

    def release(self) -> None:
        """Release the lease, if it is still held."""
        if self._guarded:
            event.remove(self._engine, "begin", self._check_mine)
            self._guarded = False
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
        try:
            self.release()
        except StorageError:
            if error is None:  # else report the earlier error
                raise

    def _check_mine(self, connection: Connection) -> None:
        """Raise LeaseHeld if another process has taken the lease."""
        query = select(Lease.holder, Lease.pid, Lease.host, Lease.acquired)
        row = connection.execute(query.where(Lease.study == self._study)).one_or_none()
        if row is not None and row.holder == self._holder:
            return
        taker = "another process, which has ended"
        if row is not None:
            taker = _named(row.pid, row.host, row.acquired)
        raise LeaseHeld(f"{self._told} was taken over by {taker}; this process must stop")

    def _take(self) -> None:
        with Session(self._engine) as session, session.begin():
            now = _now(session)
            row = session.get(Lease, self._study, with_for_update=True)
            if row is None:
                # A plain insert: it fails if another process has written the row since. A merge
                # would take the lease from a live holder.
                row = Lease(study=self._study)
                session.add(row)
            else:
                self._check_free(row, now)
            row.holder = self._holder
            row.host = f"{_host()}{_APART}{_place() or _UNKNOWN}"
            row.pid = os.getpid()
            row.process_started = _started_here()
            row.acquired = row.renewed = now

    def _check_free(self, row: Lease, now: datetime) -> None:
        """Raise LeaseHeld if the holder is alive, or may be."""
        seconds = _seconds_to_wait(row, now)
        if seconds is None:
            return
        held = f"{self._told} runs in {_named(row.pid, row.host, row.acquired)}"
        if math.isinf(seconds):
            raise LeaseHeld(f"{held}; {self._instead}")
        raise LeaseHeld(
            f"{held}, last renewed {STALE_SECONDS - seconds:.0f} s ago; {self._instead}; if it is "
            f"gone, try again in {seconds:.0f} s"
        )


def _clock() -> float:
    """Seconds of a monotonic clock that includes suspended time."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_held(engine: Engine, study: str) -> bool:
    """Whether a process that is or may be alive searches ``study``."""
    with explained(str(engine.url)), Session(engine) as session, session.begin():
        row = session.get(Lease, study)
        return row is not None and _seconds_to_wait(row, _now(session)) is not None


def _seconds_to_wait(row: Lease, now: datetime) -> float | None:
    """Seconds after which the lease can be taken; infinite for a live holder, None for no wait."""
    lives = _lives(row)
    if lives:
        return math.inf
    silent = abs((now - row.renewed).total_seconds())
    return STALE_SECONDS - silent if lives is None and silent < STALE_SECONDS else None


def _lives(row: Lease) -> bool | None:
    """Whether the holder is alive; None if its processes are not visible from here."""
    host, apart, place = row.host.partition(_APART)
    of_older = not apart and host == _host()  # older versions wrote only the host's name
    if not of_older and place != _place():
        return None
    try:
        os.kill(row.pid, 0)
        process = psutil.Process(row.pid)
        # A zombie has ended; its parent has not collected its status yet.
        ended = process.status() == psutil.STATUS_ZOMBIE
        lives = not ended and abs(_started(process) - row.process_started) < 0.5
    except ProcessLookupError:
        lives = False
    except (PermissionError, OverflowError, psutil.Error):
        return None  # it exists but belongs to another user: perhaps the holder
    return lives or (None if of_older else False)


def _place() -> str:
    """Identifier of the namespace of this process's ids; empty if unknown."""
    if sys.platform == "darwin":
        node = uuid.getnode()
        return "" if node >> 40 & 1 else f"{node:x}"  # else random, for this process only
    proc = Path("/proc")
    try:
        if (proc / "self").readlink() != Path(str(os.getpid())):
            return ""  # /proc of another namespace: psutil would confuse processes
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        spaces = [(proc / "self/ns/pid").readlink().name]
    except (OSError, ValueError):
        return ""
    with suppress(OSError):  # since Linux 5.6; it shifts process start times
        spaces.append((proc / "self/ns/time").readlink().name)
    return " ".join((boot, *spaces))


def _host() -> str:
    # A host name may contain any bytes.
    return socket.gethostname()[:100].encode("utf-8", "backslashreplace").decode()


def _started_here() -> float:
    try:
        return _started(psutil.Process())
    except psutil.Error:  # no /proc, or another namespace's: never compared
        return 0.0


def _started(process: psutil.Process) -> float:
    # Since boot, as the system counts it: psutil adds the boot time, which changes whenever the
    # system's clock is set.
    return float(process.create_time() - psutil.boot_time())


def _named(pid: int, host: str, acquired: datetime) -> str:
    name = host.partition(_APART)[0]
    return f"process {pid} on {name} since {acquired.astimezone():%Y-%m-%d %H:%M}"


def _now(session: Session) -> datetime:
    return session.execute(select(func.now(type_=Lease.renewed.type))).scalar_one()
