"""Trains the best trials on several splits of the images: how sure is their order?"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from rich.table import Table

from data.dataset import Dataset
from data.fold import Fold, most_folds
from models.history import OF_PREDICTIONS, EpochFigures, best_epoch
from models.spec import count_parameters
from search.console.display import Overall
from search.console.text import plural
from search.errors import SettingsError, TrainingFailedError
from search.protocol import Done, Failed, Job
from search.retraining.delivery import ahead
from search.study.fold_record import KIND, Folded, folded_trials
from search.study.provenance import document
from search.study.training_order import TrainingOrder
from search.tuning.job_runner import JobRunner, TrainingTask
from search.tuning.session import Session
from storage.tables import ModelRow


@dataclass(frozen=True)
class CrossValidation:
    """Trials on several splits of the images.

    Attributes:
        trials: The trials, best mean first.
        monitor: The figure that the study selects by.
        failures: Failed trainings with their reasons, one per line.
    """

    trials: Sequence[Folded]
    monitor: str
    failures: Sequence[str] = ()

    @property
    def best(self) -> int:
        """Number of the trial with the best mean of those trained on every split."""
        return next((t.trial for t in self.trials if t.trained == t.folds), self.trials[0].trial)


def on_folds(
    orders: Sequence[TrainingOrder], data: Dataset, count: int, seed: int
) -> list[TrainingOrder]:
    """The orders on each of ``count`` splits, split by split.

    Raises:
        SettingsError: A class has fewer images.
    """
    most = most_folds(data)
    if count > most:
        raise SettingsError(
            f"--folds {count}: expected at most {most}, the training and validation images of the "
            "smallest class"
        )
    return [
        replace(
            order,
            kind=KIND,
            name=f"trial-{order.trial:05d}-fold-{number + 1}-of-{count}",
            title=f"trial {order.trial}, fold {number + 1} of {count}",
            fold=Fold(number, count, seed),
        )
        for number in range(count)
        for order in orders
    ]


def cross_validate(
    session: Session, orders: Sequence[TrainingOrder], data: Dataset
) -> CrossValidation | None:
    """Train the orders of ``on_folds`` in parallel, record their results and compare the trials.

    Models are neither kept nor tested.

    Returns:
        The comparison; None if the work was interrupted. The same call resumes it.

    Raises:
        TrainingFailedError: All trainings failed, or none can continue.
    """
    records, layout = session.workspace.records, session.workspace.layout
    wanted = {order.run(data): order for order in orders}
    study, monitor = orders[0].study, orders[0].training.monitor
    made = {row.run: row for row in records.models(study) if row.run in wanted}
    if made:
        session.display.say(f"{plural(len(made), 'fold')} already trained with the same settings")
    left = [run for run in wanted if run not in made]
    if left:
        session.display.say(ahead([wanted[run] for run in left]))
    failures: dict[str, str] = {}

    def supply() -> TrainingTask | None:
        if not left:
            return None
        run = left.pop(0)
        order = wanted[run]
        job = Job(
            run=run,
            model=order.model,
            training=order.training,
            data=data.path,
            seed=order.seed,
            checkpoint=layout.run(study, run).checkpoint,
            fold=order.fold,
        )
        return TrainingTask(order.title, job)

    def ended(task: TrainingTask, history: list[EpochFigures], end: Done | Failed) -> None:
        order = wanted[task.job.run]
        if isinstance(end, Failed):
            failures[task.job.run] = f"{order.title}: {end.reason}"
            return
        row = _row(order, data, history)
        records.record_model(row)
        made[row.run] = row
        layout.run(study, row.run).remove_checkpoint()

    def every_turn() -> None:
        session.display.overall(Overall(len(made) + len(failures), len(wanted), "trainings"))

    if left:
        JobRunner(session, every_turn).train(supply, ended)
    if len(made) + len(failures) < len(wanted):
        return None
    if not made:
        raise TrainingFailedError(next(iter(failures.values())))
    return CrossValidation(
        folded_trials(list(made.values()), monitor), monitor, list(failures.values())
    )


def _row(order: TrainingOrder, data: Dataset, history: Sequence[EpochFigures]) -> ModelRow:
    best = best_epoch(history, order.training.monitor)
    assert best is not None
    assert order.fold is not None
    spec = json.loads(document(order.model, order.training, order.seed, data))
    return ModelRow(
        study=order.study,
        run=order.run(data),
        kind=KIND,
        title=order.title,
        spec=json.dumps({**spec, "fold": asdict(order.fold)}, indent=2, ensure_ascii=False) + "\n",
        trial=order.trial,
        parameters=count_parameters(order.model, data.input_shape, len(data.classes)),
        epochs=len(history),
        best_epoch=best.epoch,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        test_loss=math.nan,
        test_accuracy=math.nan,
        seconds=sum(figures.seconds for figures in history),
        seed=order.seed,
        path="",
        fingerprint=data.fingerprint,
        val_macro_f1=best.val_macro_f1,
        val_auc=best.val_auc,
    )


def table(result: CrossValidation) -> Table:
    """The trials for a terminal, in 80 columns, best mean first; figures over the splits."""
    drawn = Table(box=None, padding=(0, 0, 0, 2))
    watched = [result.monitor] if result.monitor in OF_PREDICTIONS else []
    for heading in ("trial", "folds", *watched, "val_accuracy", "val_loss"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in result.trials:
        drawn.add_row(
            str(row.trial),
            f"{row.trained} of {row.folds}" if row.trained < row.folds else str(row.folds),
            *([str(row.watched)] if watched else []),
            str(row.val_accuracy),
            str(row.val_loss),
        )
    return drawn


def verdict(result: CrossValidation) -> list[str]:
    """The result in lines: failures, and which trial is the best."""
    first = next(trial for trial in result.trials if trial.trial == result.best)
    figure = first.watched or (
        first.val_accuracy if result.monitor == "val_accuracy" else first.val_loss
    )
    line = (
        f"trial {first.trial} has the best mean {result.monitor} over {first.trained} folds: "
        f"{figure} (standard deviation between folds)"
    )
    return [*(f"failed: {failure}" for failure in result.failures), line]
