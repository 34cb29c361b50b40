"""What all trainings of a space have in common."""

from typing import Any

from pydantic import Field

from models.choices import ClassWeights, Monitor, Precision, TrainOrder
from models.spec import EarlyStopping, ReduceLROnPlateau, Spec, TrainingSpec


class TrainingDefaults(Spec):
    """The settings of a training that no trial changes.

    Attributes:
        epochs: Maximum number of epochs.
        train_order: Order of the training images; see TrainingSpec, also for the following.
        augment: Whether training images are flipped and shifted at random.
        precision: Floating-point format.
        early_stopping: Whether a training ends once it no longer improves.
        monitor: The figure that trainings watch.
        class_weights: Whether rare classes weigh more in the training loss.
    """

    epochs: int = Field(ge=1)
    train_order: TrainOrder = "together"
    augment: bool = False
    precision: Precision = "float32"
    early_stopping: bool = True
    monitor: Monitor = "val_loss"
    class_weights: ClassWeights = "none"

    def spec(self, **values: Any) -> TrainingSpec:
        """A training with these settings and the values of its trial."""
        return TrainingSpec(
            epochs=self.epochs,
            early_stopping=EarlyStopping() if self.early_stopping else None,
            reduce_lr=ReduceLROnPlateau(),
            train_order=self.train_order,
            augment=self.augment,
            precision=self.precision,
            monitor=self.monitor,
            class_weights=self.class_weights,
            **values,
        )
