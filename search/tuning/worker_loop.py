"""The loop around workers, shared by all training: receive messages, kill hanging workers."""

from collections.abc import Sequence

from models.history import EpochFigures
from search.protocol import Job, Message
from search.tuning.session import Session
from search.workers.watchdog import Watchdog

TURN = 0.2  # maximum seconds that a turn waits for messages, so that Ctrl-C is noticed soon


class WorkerLoop:
    """Starts jobs on a session's workers and receives their messages.

    Attributes:
        busy: Slots with a job.
        slot_seconds: Seconds that the slots were there, in total.
        watchdog: Finds workers that hang, and measures time.
    """

    def __init__(self, session: Session) -> None:
        self.busy: set[int] = set()
        self.slot_seconds = 0.0
        self.watchdog = Watchdog()
        self._session = session
        self._killed = False
        self._heard_at = self.watchdog.clock()
        # While the tuner waits for its database, workers wait for the tuner.
        session.workspace.storage.outages.meanwhile = self.watchdog.excuse

    def start(self, slot: int, job: Job) -> None:
        """Start a job on a free slot."""
        self.busy.add(slot)
        self.watchdog.started(slot)
        self._session.backend.start(slot, job)

    def hear(self) -> list[tuple[int, Message]]:
        """Messages that arrived within a turn, with their slots. Slots come and go here."""
        backend = self._session.backend
        slots = len(backend.slots)
        messages = backend.wait(TURN)
        now = self.watchdog.clock()
        self.slot_seconds += slots * (now - self._heard_at)
        self._heard_at = now
        for line in backend.news():
            self._session.display.say(line)
        return messages

    def ended(self, slot: int) -> None:
        """Mark a slot's job as ended."""
        self.busy.discard(slot)
        self.watchdog.ended(slot)

    def look_after(self) -> dict[int, str]:
        """Kill all workers if the user does not want to wait; renew the lease.

        Returns:
            Slots whose workers hang, with the reason; the caller kills them. A killed worker's last
            messages may still arrive.
        """
        if self._session.interruption.now and not self._killed:
            self._killed = True
            for slot in self.busy:
                self._session.backend.kill(slot, "stopped by the user")
        self._session.renew()
        self._session.attach.turn()
        return self.watchdog.hung()


def longest(history: Sequence[EpochFigures]) -> float:
    """Seconds of the longest epoch; 0 if there are no epochs."""
    return max((figures.seconds for figures in history), default=0.0)
