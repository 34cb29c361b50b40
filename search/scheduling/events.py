"""Events that a search state handles. The tuner makes them from worker messages."""

from dataclasses import dataclass

from search.spaces.unit_cube import Params


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        at: Seconds since the search began; those in which it was suspended do not count.
    """

    at: float


@dataclass(frozen=True)
class Tick(Event):
    """The loop has turned: free slots may be given jobs."""


@dataclass(frozen=True)
class StopRequested(Event):
    """The user wants the search to stop: running epochs end, nothing new begins."""


@dataclass(frozen=True)
class SlotAdded(Event):
    """A slot can take jobs."""

    slot: int


@dataclass(frozen=True)
class SlotRemoved(Event):
    """A slot takes no more jobs; the job in it, if any, has died."""

    slot: int


@dataclass(frozen=True)
class TrialBegun(Event):
    """A trial that was to be begun, or was enqueued, is in the study: it has a number now."""

    slot: int
    number: int
    params: Params


@dataclass(frozen=True)
class JobResumed(Event):
    """A worker has loaded a trial's checkpoint, or begins it.

    Attributes:
        slot: Where.
        losses: What is minimised, after each epoch so far.
        seconds: That the last of these epochs took; 0 without one.
        last: Whether the training was over by then.
        prune: Whether the study's pruner would end the trial here.
    """

    slot: int
    losses: tuple[float, ...]
    seconds: float
    last: bool
    prune: bool = False


@dataclass(frozen=True)
class EpochEnded(Event):
    """A trial has trained one more epoch, and its checkpoint is safe.

    Attributes:
        slot: Where.
        epoch: Its number, from 1.
        loss: What is minimised.
        seconds: That it took.
        last: Whether the training ends here by itself.
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
    """The worker has let go of a trial, as it was told to."""

    slot: int


@dataclass(frozen=True)
class JobStopped(Event):
    """The worker has ended a trial that was pruned."""

    slot: int


@dataclass(frozen=True)
class JobDone(Event):
    """A trial has been trained to its end."""

    slot: int


@dataclass(frozen=True)
class JobFailed(Event):
    """A trial's training broke.

    Attributes:
        slot: Where.
        kind: See ``search.protocol.Failed``.
        reason: Why, in a line.
        own_code: Whether it is the code of the user's own network that failed.
        retried: Whether the trial replaces one that was never trained.
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
