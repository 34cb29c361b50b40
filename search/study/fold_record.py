"""Results of trials on several splits of the images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.history import OF_PREDICTIONS, objective
from search.intervals import Spread
from storage.tables import ModelRow

KIND: Literal["fold"] = "fold"  # of their rows in treino's table of models


@dataclass(frozen=True)
class Folded:
    """A trial's configuration, trained on several splits.

    Attributes:
        trial: Number of the trial.
        folds: Number of splits.
        trained: Number of splits it was trained on so far.
        epochs: Maximum epochs of each training.
        objective: What the study minimises, at each training's best epoch.
        val_loss: At the same epochs, in nats.
        val_accuracy: At the same epochs, 0 to 1.
        monitor: The figure that the study selects by.
        watched: That figure, if it is not one of these.
        parameters: Number of weights.
        seconds: Wall time of all trainings.
    """

    trial: int
    folds: int
    trained: int
    epochs: int
    objective: Spread
    val_loss: Spread
    val_accuracy: Spread
    monitor: str
    watched: Spread | None
    parameters: int
    seconds: float

    @property
    def title(self) -> str:
        """Name in tables."""
        some = "" if self.trained == self.folds else f"{self.trained} of "
        return f"trial {self.trial}, {some}{self.folds} folds"


def folded_trials(rows: Sequence[ModelRow], monitor: str) -> list[Folded]:
    """What is known of trials on several splits, best mean first.

    Args:
        rows: Rows of any models.
        monitor: The figure that the study selects by.
    """
    groups: dict[tuple[int, int, int], list[ModelRow]] = {}
    for row in rows:
        if row.kind == KIND and row.trial is not None:
            spec = json.loads(row.spec)
            key = row.trial, spec["fold"]["count"], spec["training"]["epochs"]
            groups.setdefault(key, []).append(row)
    trials = []
    for (trial, folds, epochs), of in groups.items():
        watched = None
        if monitor in OF_PREDICTIONS:
            watched = Spread.of([getattr(row, monitor) for row in of])
        trials.append(
            Folded(
                trial=trial,
                folds=folds,
                trained=len(of),
                epochs=epochs,
                objective=Spread.of([objective(row, monitor) for row in of]),
                val_loss=Spread.of([row.val_loss for row in of]),
                val_accuracy=Spread.of([row.val_accuracy for row in of]),
                monitor=monitor,
                watched=watched,
                parameters=of[0].parameters,
                seconds=sum(row.seconds for row in of),
            )
        )
    return sorted(trials, key=lambda each: each.objective.mean)
