"""Messages between the tuner and its workers.

A worker gets a Job and sends one Resumed, then one EpochDone per epoch. After each of these it
waits for the tuner's Verdict. It ends with one of Done, Paused, Stopped and Failed. The messages
are the same for every backend.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.fold import Fold
from models.evaluation import Mistake
from models.history import EpochFigures
from models.spec import ModelSpec, OwnSpec, TrainingSpec

PATIENCE = 3  # worker deaths on the same epoch after which a training has failed


@dataclass(frozen=True)
class Job:
    """One training, from its checkpoint or from the beginning.

    Attributes:
        run: Name of the training, unique within the study.
        model: The network.
        training: How to train it.
        data: Folder of the decoded images (``data.dataset.Dataset.open``).
        seed: The training's seed.
        checkpoint: File of its state; the training resumes from it if it exists.
        trial: Number of the trial it is or comes from.
        hand_over: File for the model to deliver, which is also tested on the test images.
        save: File for the trained model if it is only stored.
        max_parameters: A network with more weights is not trained.
        max_operations: A network with more multiply-adds per image is not trained.
        size: A size that the study does not know yet, and that the worker tells with Resumed:
            ``operations``, of a user's own network, or ``latency``; empty for none.
        fold: The split of the images to train and validate on; None for that of the folder.
    """

    run: str
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    data: Path
    seed: int
    checkpoint: Path
    trial: int = 0
    hand_over: Path | None = None
    save: Path | None = None
    max_parameters: int | None = None
    max_operations: int | None = None
    size: str = ""
    fold: Fold | None = None


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        parameters: Its weights.
        operations: Its multiply-adds per image, in a forward pass; 0 if they were not counted.
        latency: The time in ms that a worker takes to classify one image, in a batch of its own; 0
            if it was not measured.
    """

    parameters: int
    operations: int = 0
    latency: float = 0.0

    def excess(self, max_parameters: int | None, max_operations: int | None) -> str:
        """What is over the limits, None for no limit; empty if nothing is."""
        for size, most, what in (
            (self.parameters, max_parameters, "parameters"),
            (self.operations, max_operations, "multiply-adds per image"),
        ):
            if most is not None and size > most:
                return f"{size:,} {what}, more than {most:,}"
        return ""


class Verdict(enum.Enum):
    """The tuner's answer to an epoch."""

    GO_ON = "go on"
    PAUSE = "pause"  # to be resumed from the checkpoint
    STOP = "stop"  # pruned


@dataclass(frozen=True)
class Resumed:
    """The epochs in the job's checkpoint; empty for a training from the beginning.

    ``last`` says whether the training is already over. ``parameters`` is the number of weights.
    ``own`` is how a user's own network is trained and loaded, as JSON text. ``attributes`` are what
    the user's code has set on its trial; JSON-compatible. ``operations`` is the number of
    multiply-adds; 0 if they were not counted. ``latency`` is the time in ms for one image; 0 if it
    was not measured.
    """

    history: tuple[EpochFigures, ...]
    last: bool = False
    parameters: int | None = None
    own: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    operations: int = 0
    latency: float = 0.0


@dataclass(frozen=True)
class EpochDone:
    """An epoch whose checkpoint is saved; ``last`` if the training ends with it by itself."""

    figures: EpochFigures
    last: bool


@dataclass(frozen=True)
class TestFigures:
    """Test results of a delivered model.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share classified correctly, 0 to 1.
        confusion: Counts; rows are true classes, columns predicted ones.
        parameters: Number of the model's weights.
        mistakes: Misclassified images with the highest predicted probability.
        own: How a user's own network was trained and is loaded, as JSON text.
    """

    loss: float
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    parameters: int
    mistakes: tuple[Mistake, ...] = ()
    own: str = ""


@dataclass(frozen=True)
class Done:
    """The training has ended by itself; ``test`` is set if the job delivers its model."""

    test: TestFigures | None = None


@dataclass(frozen=True)
class Paused:
    """The training was paused by Verdict.PAUSE."""


@dataclass(frozen=True)
class Stopped:
    """The training was stopped by Verdict.STOP."""


@dataclass(frozen=True)
class Failed:
    """The training failed.

    Attributes:
        kind: ``diverged``: val_loss not finite; ``memory``: the network did not fit; ``large``:
            it has more weights or operations than it may; ``pruned``: the user's code pruned the
            trial; ``error``: an exception; ``died``: the worker process ended or hung; ``lost``:
            its machine was lost or left, which is not this job's fault; ``environment``: a
            checkpoint could not be written, the images were gone or the user's code had changed,
            which is not this job's fault and affects the next one too.
        reason: One line for people.
        attributes: What the user's code had set on its trial; JSON-compatible.
        size: Size of a network that is too large.
    """

    kind: Literal["diverged", "memory", "large", "pruned", "error", "died", "lost", "environment"]
    reason: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    size: NetworkSize | None = None


Message = Resumed | EpochDone | Done | Paused | Stopped | Failed
End = Done | Paused | Stopped | Failed
