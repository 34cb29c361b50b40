"""The study's best trial, trained in full and handed over with a card."""

import math

import optuna

from data.dataset import Dataset
from models.documented import BEST_TEST_ACCURACY
from models.spec import EarlyStopping, ReduceLROnPlateau
from search.errors import NothingToTrainError
from search.outside import Order, Workshop
from search.progress import duration, plural
from search.scheduler import trial_seed
from search.space import Space
from search.trials import best_trial
from search.workspace import space_of
from storage.files import RunFiles, write_atomically
from storage.study import MADE_WITH
from storage.tables import ModelRow


def order_of_best(study: optuna.Study, space: Space, epochs: int) -> Order:
    """The order to train the study's best trial anew, for up to ``epochs`` epochs.

    With the trial's own seed: it starts with the weights, and sees the images in the order, that
    were found good.

    Raises:
        NothingToTrainError: No trial is complete.
    """
    best = best_trial(study)
    if best is None:
        raise NothingToTrainError(
            f"study {study.study_name!r} has no complete trial to retrain: "
            "continue the search first (make search)"
        )
    model, training = space.specs(best.params)
    training = training.model_copy(
        update={
            "epochs": epochs,
            "early_stopping": EarlyStopping(patience=10),
            "reduce_lr": ReduceLROnPlateau(factor=0.1, patience=5, min_lr=1e-6),
        }
    )
    return Order(
        study=study.study_name,
        kind="retrain",
        name=f"trial-{best.number:05d}-retrained",
        title=f"trial {best.number} retrained",
        model=model,
        training=training,
        seed=trial_seed(int(study.user_attrs[MADE_WITH]["seed"]), best.number),
        trial=best.number,
    )


def retrain_best(
    workshop: Workshop, study: optuna.Study, data: Dataset, files: RunFiles, epochs: int
) -> ModelRow | None:
    """Retrain the study's best trial for up to ``epochs`` epochs and hand it over at ``files``.

    Returns:
        The model; None if the training was interrupted, to be gone on with by the same call.

    Raises:
        NothingToTrainError: No trial is complete.
        TrainingFailedError: The training broke.
    """
    order = order_of_best(study, space_of(study, data), epochs)
    row = workshop.make(order, data, files)
    if row is not None:
        write_atomically(files.card, card(row, data, files))
    return row


def card(row: ModelRow, data: Dataset, files: RunFiles) -> str:
    """A page about a handed-over model, in Markdown."""
    images = len(data.test.labels)
    # Half of the 95 % interval of a share (normal approximation).
    share = 1.96 * math.sqrt(row.test_accuracy * (1 - row.test_accuracy) / images)
    return f"""# {row.title}, study {row.study}

| | |
|---|---|
| test accuracy | **{row.test_accuracy:.4f}** ± {share:.4f} ({images:,} images, 95 %) |
| the documents' best run, on CIFAR-10 | {BEST_TEST_ACCURACY} |
| test loss | {row.test_loss:.4f} |
| validation accuracy | {row.val_accuracy:.4f} |
| validation loss | {row.val_loss:.4f}, at epoch {row.best_epoch} of {row.epochs} |
| parameters | {row.parameters:,} |
| training | {plural(len(data.train.labels), "image")}, {duration(row.seconds)} |
| images | {data.name}: {data.source} |
| classes | {", ".join(data.classes)} |

![curves]({files.curves.name})
![confusion]({files.confusion.name})

The model takes raw images, (n, {", ".join(map(str, data.input_shape))}) with values 0 to 255, and
returns the probabilities of the classes in the order above:

```python
import keras

model = keras.saving.load_model("{files.model.name}", safe_mode=True)
probabilities = model.predict(images)
```

[{files.spec.name}]({files.spec.name}) is what was trained and with which versions,
[{files.history.name}]({files.history.name}) every epoch's figures.
"""
