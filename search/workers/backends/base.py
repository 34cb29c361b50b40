"""The interface between the tuner and a backend."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from search.protocol import Job, Message, Verdict

B = TypeVar("B", bound="Backend")


class Backend(ABC):
    """A set of slots, each of which trains one job at a time.

    Every implementation guarantees:

    - Messages of one slot arrive in the order they were sent, none twice; slots are independent.
    - Every job started ends with exactly one of Done, Paused, Stopped and Failed, even when its
      process or machine is gone: then with Failed of kind ``died``, noticed within a second. The
      slot is then free for another job.
    - After a Resumed or EpochDone no message follows until it is answered.
    - It is used from one thread. The tuner owns it and closes it.
    """

    @property
    @abstractmethod
    def slots(self) -> int:
        """Number of jobs that can train at the same time."""

    @abstractmethod
    def start(self, slot: int, job: Job) -> None:
        """Start a job in a free slot, without waiting for it."""

    @abstractmethod
    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """Return messages with their slots; wait up to ``timeout`` seconds for the first."""

    @abstractmethod
    def answer(self, slot: int, verdict: Verdict) -> None:
        """Answer the slot's Resumed or EpochDone."""

    @abstractmethod
    def kill(self, slot: int, reason: str) -> None:
        """Kill the slot's job without waiting; it ends with Failed ``died``."""

    @abstractmethod
    def close(self) -> None:
        """End every worker at once. Running jobs keep the epochs in their checkpoints."""

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
