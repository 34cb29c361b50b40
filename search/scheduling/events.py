"""Events that a search state handles. The tuner makes them from worker messages."""

from dataclasses import dataclass

from search.spaces.unit_cube import Params


@dataclass(frozen=True)
class Event:
    """An event of a search.

    Attributes:
        at: Seconds since the search began, without the time it was suspended.
    """

    at: float


@dataclass(frozen=True)
class Tick(Event):
    """A turn of the tuner's loop: free slots may get jobs."""


@dataclass(frozen=True)
class StopRequested(Event):
    """The user stops the search: running epochs end, nothing new starts."""


@dataclass(frozen=True)
class SlotAdded(Event):
    """A slot can take jobs.

    Attributes:
        slot: The slot.
        processor: Type of its processor; empty on the tuner's machine.
    """

    slot: int
    processor: str = ""


@dataclass(frozen=True)
class SlotRemoved(Event):
    """A slot takes no more jobs. Its job, if any, has died."""

    slot: int


@dataclass(frozen=True)
class TrialBegun(Event):
    """A requested or enqueued trial is in the study and has a number."""

    slot: int
    number: int
    params: Params


@dataclass(frozen=True)
class JobResumed(Event):
    """A worker has loaded a trial's checkpoint, or starts from the beginning.

    Attributes:
        slot: The slot.
        losses: The objective after each epoch so far.
        seconds: Duration of the last of these epochs; 0 if there is none.
        last: Whether the training was already over.
        prune: Whether the study's pruner would end the trial here.
    """

    slot: int
    losses: tuple[float, ...]
    seconds: float
    last: bool
    prune: bool = False


@dataclass(frozen=True)
class EpochEnded(Event):
    """A trial has trained one more epoch, and its checkpoint is saved.

    Attributes:
        slot: The slot.
        epoch: Its number, from 1.
        loss: The objective.
        seconds: Its duration.
        last: Whether the training ends by itself after this epoch.
        prune: Whether the study's pruner would end the trial here.
    """

    slot: int
    epoch: int
    loss: float
    seconds: float
    last: bool
    prune: bool = False


@dataclass(frozen=True)
class JobPaused(Event):
    """The worker has released a trial after a pause verdict."""

    slot: int


@dataclass(frozen=True)
class JobStopped(Event):
    """The worker has ended a trial that was pruned."""

    slot: int


@dataclass(frozen=True)
class JobDone(Event):
    """A trial's training is complete."""

    slot: int


@dataclass(frozen=True)
class JobFailed(Event):
    """A trial's training failed.

    Attributes:
        slot: The slot.
        kind: See ``search.protocol.Failed``.
        reason: The reason, in one line.
        own_code: Whether the user's own code failed.
        retried: Whether the trial is a retry of one that never trained.
    """

    slot: int
    kind: str
    reason: str
    own_code: bool = False
    retried: bool = False


@dataclass(frozen=True)
class WorkerHung(Event):
    """A worker has been silent for too long."""

    slot: int
    reason: str
