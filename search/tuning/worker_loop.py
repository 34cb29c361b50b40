"""The loop around workers that all training shares: hear them, kill those that hang."""

from search.protocol import Job, Message
from search.tuning.session import Session
from search.workers.watchdog import Watchdog

TURN = 0.2  # seconds a turn waits for messages at the most: how soon it sees Ctrl-C


class WorkerLoop:
    """Hands jobs to a session's workers and hears what comes of them.

    Attributes:
        busy: Slots with a job.
        watchdog: Knows which workers hang, and measures time.
    """

    def __init__(self, session: Session) -> None:
        self.busy: set[int] = set()
        self.watchdog = Watchdog()
        self._session = session
        self._killed = False

    def start(self, slot: int, job: Job) -> None:
        """Give a free slot a job."""
        self.busy.add(slot)
        self.watchdog.started(slot)
        self._session.backend.start(slot, job)

    def hear(self) -> list[tuple[int, Message]]:
        """Messages that have come within a turn, with their slots."""
        return self._session.backend.wait(TURN)

    def ended(self, slot: int) -> None:
        """Note that a slot's job has ended."""
        self.busy.discard(slot)
        self.watchdog.ended(slot)

    def look_after(self) -> None:
        """Kill workers that hang, or all if the user will not wait; renew the lease."""
        if self._session.interruption.now and not self._killed:
            self._killed = True
            for slot in self.busy:
                self._session.backend.kill(slot, "stopped by the user")
        for slot, reason in self.watchdog.hung().items():
            self.watchdog.ended(slot)
            self._session.backend.kill(slot, reason)
        self._session.renew()
