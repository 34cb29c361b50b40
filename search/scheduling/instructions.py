"""Instructions from a search state. The tuner carries them out in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search.protocol import Verdict
from search.spaces.unit_cube import Params

Ended = Literal["complete", "pruned", "failed"]
Mark = Literal["", "unfit", "memory", "own"]


class Instruction:
    """Something that the tuner is to do; in the order given."""


@dataclass(frozen=True)
class BeginTrial(Instruction):
    """Begin a trial of this configuration in the study; answered by TrialBegun."""

    slot: int
    params: Params


@dataclass(frozen=True)
class BeginEnqueued(Instruction):
    """Begin the trial that was enqueued first; answered by TrialBegun."""

    slot: int


@dataclass(frozen=True)
class StartJob(Instruction):
    """Give the slot the trial to train.

    ``decision`` is noted on the trial before, unless it is empty.
    """

    slot: int
    number: int
    decision: str = ""


@dataclass(frozen=True)
class Answer(Instruction):
    """Tell the worker what its epoch means."""

    slot: int
    verdict: Verdict


@dataclass(frozen=True)
class KillWorker(Instruction):
    """Kill the worker in the slot; its end comes as JobFailed."""

    slot: int
    reason: str


@dataclass(frozen=True)
class NoteDecision(Instruction):
    """Write down what was decided about a trial, and why."""

    number: int
    text: str


@dataclass(frozen=True)
class NotePruned(Instruction):
    """Write down that a trial is pruned, before its worker hears of it."""

    number: int


@dataclass(frozen=True)
class NoteDeath(Instruction):
    """Write down how often a trial's worker has died after this same epoch."""

    number: int
    epoch: int
    times: int


@dataclass(frozen=True)
class NoteMemory(Instruction):
    """Write down what the chooser of a later search needs to decide as this one's."""

    memory: Mapping[str, Any]


@dataclass(frozen=True)
class RefuseDuplicate(Instruction):
    """End an enqueued trial whose configuration is that of trial ``first``."""

    number: int
    first: int


@dataclass(frozen=True)
class RefuseUnfit(Instruction):
    """End a trial that there is no room for."""

    number: int
    reason: str


@dataclass(frozen=True)
class ReleaseSlot(Instruction):
    """The slot's trial waits to be resumed; ``line`` says why."""

    slot: int
    line: str
    paused: bool = False


@dataclass(frozen=True)
class FinishTrial(Instruction):
    """End a trial in the study.

    Attributes:
        number: The trial.
        state: What it becomes.
        reason: Why, in a line; empty for a complete one.
        slot: Where it was trained; None if it was not under way.
        mark: ``unfit``: its configuration is no good; ``memory``: it ran out of memory, too;
            ``own``: it failed in the user's code.
    """

    number: int
    state: Ended
    reason: str = ""
    slot: int | None = None
    mark: Mark = ""


@dataclass(frozen=True)
class Say(Instruction):
    """Tell the user."""

    line: str
