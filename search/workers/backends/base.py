"""The interface between the tuner and a backend."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from search.protocol import Job, Message, Verdict

B = TypeVar("B", bound="Backend")


class Backend(ABC):
    """A set of slots, each of which trains one job at a time.

    Every implementation guarantees:

    - Messages of one slot arrive in the order they were sent, none twice; slots are independent.
    - Every job started ends with exactly one of Done, Paused, Stopped and Failed, even when its
      process or machine is gone. A dead process ends it with Failed of kind ``died``, noticed
      within a second; a lost machine with Failed of kind ``lost``, noticed within the time that
      the backend states. The slot is then free for another job, or gone with its machine.
    - Slots come and go in ``wait`` only. The number of a slot that has gone is not used again, so
      nothing that its worker still does can be taken for a message of another slot.
    - An epoch's checkpoint is in the job's file, flushed, before its EpochDone arrives; the files
      of models before Done.
    - After a Resumed or EpochDone no message follows until it is answered.
    - It is used from one thread. The tuner owns it and closes it.
    """

    @property
    @abstractmethod
    def slots(self) -> Sequence[int]:
        """Numbers of the slots, in ascending order. Each trains one job at a time."""

    @property
    def summary(self) -> str:
        """Where the slots are, in a phrase for the display; empty on this machine."""
        return ""

    def processor(self, slot: int) -> str:
        """Type of the processor of a slot's machine; empty on this machine."""
        return ""

    def news(self) -> list[str]:
        """What happened to the backend since the last call, one line each for the user."""
        return []

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
        """Kill the slot's job without waiting; it ends with Failed ``died``.

        What the job sent before arrives first, and may be its end. An answer to it is ignored.
        """

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
