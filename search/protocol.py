"""Messages between the tuner and its workers.

A worker gets a Job and sends one Resumed, then one EpochDone per epoch. After each of these it
waits for the tuner's Verdict. It ends with one of Done, Paused, Stopped and Failed. The messages
are the same for every backend.
"""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.evaluation import Mistake
from models.history import EpochFigures
from models.spec import ModelSpec, OwnSpec, TrainingSpec

PATIENCE = 3  # how often a worker may die on the same epoch of a training before it has failed


@dataclass(frozen=True)
class Job:
    """One training, from its checkpoint or from the beginning.

    Attributes:
        run: Name of the training, unique within the study.
        model: The network.
        training: How to train it.
        data: Folder of the decoded images (``data.dataset.Dataset.open``).
        seed: The training's seed.
        checkpoint: File of its state; trained on from there if it exists.
        monitor: The figure that the tuner judges by.
        hand_over: File for the trained model; with one, it is also tried on the test images.
        save: File for the trained model, where it is only to be kept.
        max_parameters: A network that turns out to have more weights is not trained.
    """

    run: str
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    data: Path
    seed: int
    checkpoint: Path
    monitor: str = "val_loss"
    hand_over: Path | None = None
    save: Path | None = None
    max_parameters: int | None = None


class Verdict(enum.Enum):
    """What the tuner makes of an epoch."""

    GO_ON = "go on"
    PAUSE = "pause"  # to be taken up again from the checkpoint
    STOP = "stop"  # pruned


@dataclass(frozen=True)
class Resumed:
    """The epochs that the job's checkpoint already held; none for a training from the beginning.

    ``last`` when they are all that the training will ever have. ``parameters`` is how many weights
    the network has. ``own`` is how a network of the user's own is trained and loaded, as JSON text.
    """

    history: tuple[EpochFigures, ...]
    last: bool = False
    parameters: int | None = None
    own: str = ""


@dataclass(frozen=True)
class EpochDone:
    """An epoch whose checkpoint is safe; ``last`` when the training ends with it by itself."""

    figures: EpochFigures
    last: bool


@dataclass(frozen=True)
class TestFigures:
    """How a handed-over model did on the test images.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Share classified correctly, 0 to 1.
        confusion: Counts; rows are true classes, columns predicted ones.
        parameters: Number of the model's weights.
        mistakes: The wrongly classified images that it was surest of.
        own: How a network of the user's own was trained and is loaded, as JSON text.
    """

    loss: float
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    parameters: int
    mistakes: tuple[Mistake, ...] = ()
    own: str = ""


@dataclass(frozen=True)
class Done:
    """The training has ended by itself; ``test`` comes with a job that hands over its model."""

    test: TestFigures | None = None


@dataclass(frozen=True)
class Paused:
    """The training was broken off by Verdict.PAUSE."""


@dataclass(frozen=True)
class Stopped:
    """The training was broken off by Verdict.STOP."""


@dataclass(frozen=True)
class Failed:
    """The training broke.

    Attributes:
        kind: ``diverged``: val_loss not finite; ``memory``: the network did not fit, or has more
            weights than it may; ``error``: an exception; ``died``: the worker process ended,
            hung or lost its machine; ``surroundings``: a checkpoint could not be written, the
            images were gone or the user's code had changed, which is no fault of this job's and
            will meet the next one too.
        reason: One line for people.
    """

    kind: Literal["diverged", "memory", "error", "died", "surroundings"]
    reason: str


Message = Resumed | EpochDone | Done | Paused | Stopped | Failed
End = Done | Paused | Stopped | Failed
