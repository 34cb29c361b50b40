"""Instructions from a search state. The tuner carries them out in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search.protocol import Verdict
from search.spaces.unit_cube import Params

Ended = Literal["complete", "pruned", "failed"]
Mark = Literal["", "unfit", "memory", "own"]


class Instruction:
    """An instruction to the tuner."""


@dataclass(frozen=True)
class BeginTrial(Instruction):
    """Start a trial of this configuration; answered by TrialBegun."""

    slot: int
    params: Params


@dataclass(frozen=True)
class BeginEnqueued(Instruction):
    """Start the first enqueued trial; answered by TrialBegun."""

    slot: int


@dataclass(frozen=True)
class StartJob(Instruction):
    """Give the slot the trial to train.

    ``decision`` is stored with the trial first, unless it is empty.
    """

    slot: int
    number: int
    decision: str = ""


@dataclass(frozen=True)
class Answer(Instruction):
    """Send the worker the verdict on its epoch."""

    slot: int
    verdict: Verdict


@dataclass(frozen=True)
class KillWorker(Instruction):
    """Kill the worker in the slot; answered by JobFailed."""

    slot: int
    reason: str


@dataclass(frozen=True)
class NoteDecision(Instruction):
    """Store a decision about a trial, with its reason."""

    number: int
    text: str


@dataclass(frozen=True)
class NotePruned(Instruction):
    """Store that a trial is pruned, before its worker gets the verdict."""

    number: int


@dataclass(frozen=True)
class NoteDeath(Instruction):
    """Store how often a trial's worker has died after this epoch."""

    number: int
    epoch: int
    times: int


@dataclass(frozen=True)
class NoteMemory(Instruction):
    """Store the state that a later chooser needs to make the same decisions."""

    memory: Mapping[str, Any]


@dataclass(frozen=True)
class RefuseDuplicate(Instruction):
    """End an enqueued trial that has the configuration of trial ``first``."""

    number: int
    first: int


@dataclass(frozen=True)
class RefuseUnfit(Instruction):
    """End a trial that cannot be trained on this machine."""

    number: int
    reason: str


@dataclass(frozen=True)
class ReleaseSlot(Instruction):
    """Free the slot; its trial is to be resumed. ``line`` is the reason."""

    slot: int
    line: str
    paused: bool = False


@dataclass(frozen=True)
class FinishTrial(Instruction):
    """End a trial in the study.

    Attributes:
        number: The trial.
        state: Its final state.
        reason: The reason, in one line; empty for a complete trial.
        slot: The slot that trained it; None if it was not running.
        mark: ``unfit``: its configuration is bad; ``memory``: bad because it ran out of memory;
            ``own``: it failed in the user's code.
    """

    number: int
    state: Ended
    reason: str = ""
    slot: int | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Say(Instruction):
    """Print a message for the user."""

    line: str
