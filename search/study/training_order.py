"""What is to be trained outside the study: the retrained best, a baseline, a pair's training."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from data.dataset import Dataset
from models.spec import ModelSpec, OwnSpec, TrainingSpec


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained and handed over.

    Attributes:
        study: Study (or, for a baseline, data) that it belongs to.
        kind: What it is.
        name: What it is called: the documented run, or the trial it comes from.
        title: What people read.
        model: The network.
        training: How to train it.
        seed: Of the training.
        trial: The trial it comes from, if any.
    """

    study: str
    kind: Literal["retrain", "baseline", "pair"]
    name: str
    title: str
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    seed: int
    trial: int | None = None

    def run(self, data: Dataset) -> str:
        """Name of the training: another one as soon as anything about it is another."""
        what = (self.model.to_json(), self.training.to_json(), str(self.seed), data.fingerprint)
        return f"{self.name}-{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:8]}"
