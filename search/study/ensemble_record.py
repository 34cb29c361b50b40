"""An ensemble beside the best single model, stored with the delivered one as ``ensemble.json``."""

from models.history import objective
from models.spec import Spec, SpecError
from storage.errors import StorageError
from storage.files import RunFiles


class EnsembleCandidate(Spec):
    """A retrained model that the ensemble was selected from.

    Attributes:
        run: Its training.
        title: Its title.
        trial: Number of its trial.
        val_loss: Validation loss of its training, in nats.
        test_loss: Its loss on the test images, in nats, which chose nothing.
        count: How often it counts in the ensemble; 0 if it is no member.
    """

    run: str
    title: str
    trial: int | None
    val_loss: float
    test_loss: float
    count: int


class MeasuredModel(Spec):
    """Figures of the best single model or of the ensemble, both measured in the same way.

    Attributes:
        run: Its name among the runs of the study.
        title: Its title.
        val_loss: Mean cross-entropy of the saved model on the validation images, in nats.
        val_accuracy: Share of them classified correctly, 0 to 1.
        test_accuracy: The same for the test images.
        parameters: Number of weights.
        milliseconds: Shortest time per image in ms, one image at a time, on a processor of the
            machine that made the ensemble; the median time in records of earlier versions.
        val_macro_f1: Mean F1 score of the classes on the validation images; None if the study does
            not monitor it.
        val_auc: The same for the mean area under the ROC curve.
    """

    run: str
    title: str
    val_loss: float
    val_accuracy: float
    test_accuracy: float
    parameters: int
    milliseconds: float
    val_macro_f1: float | None = None
    val_auc: float | None = None


class EnsembleRecord(Spec):
    """The results of selecting an ensemble.

    Attributes:
        candidates: The models that it was selected from.
        single: The best single model.
        ensemble: The ensemble; None if no average is better on the validation images than the best
            candidate.
        test_images: Number of test images.
        monitor: The figure that the study selects by.
    """

    candidates: tuple[EnsembleCandidate, ...]
    single: MeasuredModel
    ensemble: MeasuredModel | None
    test_images: int
    monitor: str = "val_loss"

    @property
    def delivered(self) -> MeasuredModel:
        """The ensemble if its monitored figure is better, else the single model."""
        if self.ensemble is None:
            return self.single
        better = objective(self.ensemble, self.monitor) < objective(self.single, self.monitor)
        return self.ensemble if better else self.single

    @property
    def members(self) -> tuple[EnsembleCandidate, ...]:
        """The models that the ensemble averages, largest weight first."""
        members = [candidate for candidate in self.candidates if candidate.count]
        return tuple(sorted(members, key=lambda member: -member.count))


def read_ensemble(files: RunFiles) -> EnsembleRecord | None:
    """The stored record beside a model; None if there is none."""
    try:
        return EnsembleRecord.from_json(files.ensemble.read_bytes())
    except (OSError, SpecError, StorageError):
        return None
