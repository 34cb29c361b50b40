"""Order of a training outside the study: a retrained trial, a fold, a baseline or a pair's."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from data.dataset import Dataset
from data.fold import Fold
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
        fold: The split of the images to train and validate on; None for the study's own.
    """

    study: str
    kind: Literal["retrain", "fold", "baseline", "pair"]
    name: str
    title: str
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    seed: int
    trial: int | None = None
    fold: Fold | None = None

    def run(self, data: Dataset) -> str:
        """Name of the training. It changes with the network, training, seed, images or split."""
        what = [self.model.to_json(), self.training.to_json(), str(self.seed), data.fingerprint]
        what += [] if self.fold is None else [str(self.fold)]
        return f"{self.name}-{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:8]}"
