"""How a delivered model was retrained, stored with it as ``retraining.json``."""

from models.spec import Spec, SpecError
from storage.errors import StorageError
from storage.files import RunFiles


class RetrainingRecord(Spec):
    """The options of ``treino retrain-best``, with the names they have there.

    Attributes:
        epochs: Maximum number of epochs of a training.
        top: Number of best trials trained.
        seeds: Number of seeds per trial.
        ensemble: Whether an average of the models was made, too.
        folds: Number of splits that chose the trial; None for the study's own.
        where: Condition on the trials; None for none.
    """

    epochs: int
    top: int = 1
    seeds: int = 1
    ensemble: bool = False
    folds: int | None = None
    where: str | None = None


def read_retraining(files: RunFiles) -> RetrainingRecord | None:
    """The stored record beside a model; None if there is none."""
    try:
        return RetrainingRecord.from_json(files.retraining.read_bytes())
    except (OSError, SpecError, StorageError):
        return None
