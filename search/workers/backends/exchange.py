"""What the tuner and the agents of a cluster's nodes send each other.

The tuner calls an agent with commands; the agent returns messages of its workers. Both are
numbered from 1 and repeated until the other side has acknowledged them, and a number that has been
handled is ignored. A call that may or may not have run can therefore be made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from search.protocol import Job, Message, Verdict

File = Literal["checkpoint", "save", "hand_over"]
"""A file of a job, by the name of its path in the job."""


@dataclass(frozen=True)
class Request:
    """What a search asks of every node.

    Attributes:
        study: Name of the study.
        images: Fingerprint of the decoded images.
        size: Bytes of the images.
        code: The user's Python files by their path in their folder; empty without any.
        workers: Number of workers on each node; 0 to decide by cores, GPUs and memory.
        smallest: Bytes that the smallest network needs.
        largest: Bytes that the largest network needs.
        jobs: Number of jobs there will be; 0 if unknown.
    """

    study: str
    images: str
    size: int
    code: Mapping[str, bytes] = field(default_factory=dict)
    workers: int = 0
    smallest: int = 0
    largest: int = 0
    jobs: int = 0


@dataclass(frozen=True)
class Introduction:
    """What a node is.

    Attributes:
        versions: What has to be the same on every node, by name.
        processor: Type of its processor; floating-point results may depend on it.
        has_images: Whether its cache has the images of the request.
        fault: Why it cannot train; empty if it can.
    """

    versions: Mapping[str, str]
    processor: str
    has_images: bool
    fault: str = ""


@dataclass(frozen=True)
class Prepared:
    """A node's slots, or why it has none.

    Attributes:
        workers: Number of slots, numbered from 0.
        told: What each worker has, in a phrase.
        little_room: In a line, that a worker has no room for the largest network; empty if it has.
        fault: Why it cannot train; empty if it can.
    """

    workers: int
    told: str = ""
    little_room: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Start:
    """Start a job; its paths are the tuner's, and ``files`` their content."""

    slot: int
    job: Job
    files: Mapping[File, bytes]


@dataclass(frozen=True)
class Answer:
    """Answer a worker's message."""

    slot: int
    verdict: Verdict


@dataclass(frozen=True)
class Kill:
    """Kill a worker."""

    slot: int
    reason: str


Command = Start | Answer | Kill


@dataclass(frozen=True)
class Delivery:
    """A worker's message, with the files that it says are complete."""

    number: int
    slot: int
    message: Message
    files: Mapping[File, bytes] = field(default_factory=dict)
