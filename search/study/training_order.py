"""Order of a training outside the study: a retrained trial, a baseline or a paired training."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from data.dataset import Dataset
from models.spec import ModelSpec, OwnSpec, TrainingSpec


@dataclass(frozen=True)
class TrainingOrder:
    """A network to train and store.

    Attributes:
        study: Study (or, for a baseline, data) that the training belongs to.
        kind: Kind of the training.
        name: Name of the documented run, or of the trial it comes from.
        title: Title for display.
        model: The network.
        training: How to train it.
        seed: Seed of the training.
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
        """Name of the training. It changes with the network, training, seed or images."""
        what = (self.model.to_json(), self.training.to_json(), str(self.seed), data.fingerprint)
        return f"{self.name}-{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:8]}"
