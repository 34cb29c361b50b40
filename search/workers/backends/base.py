"""The interface between the tuner and a backend."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from search.protocol import Job, Message, Verdict

B = TypeVar("B", bound="Backend")


class Backend(ABC):
    """A number of slots, each of which trains one job at a time.

    Guarantees, whatever the implementation:

    - Messages of one slot arrive in the order they were sent, none twice; slots are independent.
    - Every job started ends with exactly one of Done, Paused, Stopped and Failed, even when its
      process or machine is gone: then with Failed of kind ``died``, noticed within a second. The
      slot is then free, and can be given another job at once.
    - A Resumed or EpochDone is followed by nothing until it was answered.
    - Used from one thread; owned by the tuner, which closes it.
    """

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs can train at the same time."""

    @abstractmethod
    def start(self, slot: int, job: Job) -> None:
        """Give a free slot a job. Does not wait for it."""

    @abstractmethod
    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """Messages that have come, with their slots; waits up to ``timeout`` seconds for one."""

    @abstractmethod
    def answer(self, slot: int, verdict: Verdict) -> None:
        """Answer the slot's Resumed or EpochDone."""

    @abstractmethod
    def kill(self, slot: int, reason: str) -> None:
        """Break the slot's job off without waiting for it; it ends with Failed ``died``."""

    @abstractmethod
    def close(self) -> None:
        """End every worker, at once. Jobs under way keep the epochs in their checkpoints."""

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
