"""Trainings outside the study, from job to delivered model: retrained trials and baselines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from data.dataset import Dataset
from models.history import EpochFigures, best_epoch, to_csv
from search.console.display import Overall
from search.console.text import plural
from search.errors import TrainingFailedError
from search.figures import plots
from search.interruption import Interruption
from search.protocol import Done, Failed, Job, TestFigures
from search.study.evaluation_record import EvaluationRecord, draw_mistakes
from search.study.names import BASELINES
from search.study.provenance import document
from search.study.training_order import TrainingOrder
from search.study.workspace import Workspace
from search.tuning.job_runner import JobRunner, TrainingTask
from search.tuning.session import Session
from search.workers.resources import Resources
from storage.files import RunFiles, write_atomically
from storage.lease import BASELINE, RETRAINING, StudyLease
from storage.tables import ModelRow


class Delivery:
    """Trains orders on its workers, records every epoch, and delivers the models.

    Attributes:
        session: The resources that it uses.
    """

    def __init__(self, session: Session) -> None:
        """Use all slots of the session's backend."""
        self.session = session
        self._records = session.workspace.records
        self._layout = session.workspace.layout
        self._display = session.display

    def make(self, order: TrainingOrder, data: Dataset, paths: RunFiles) -> ModelRow | None:
        """Train or resume an order, and write its results to ``paths``.

        Returns:
            The model as recorded; None if the training was interrupted. The same call
            resumes it.

        Raises:
            TrainingFailedError: The training failed.
        """
        (made,) = self.make_all([(order, paths)], data)
        if isinstance(made, Failed):
            raise TrainingFailedError(f"{order.title}: {made.reason}")
        return made

    def make_all(
        self, orders: Sequence[tuple[TrainingOrder, RunFiles]], data: Dataset
    ) -> list[ModelRow | Failed | None]:
        """Train several orders of one study in parallel on all workers; see ``make``.

        Returns:
            For each order its model, the reason it failed, or None if it was interrupted.

        Raises:
            TrainingFailedError: No training can continue, for example because the disk is full.
        """
        made: dict[str, ModelRow | Failed] = {}
        waiting: dict[str, tuple[TrainingOrder, RunFiles]] = {}
        for order, paths in orders:
            run = order.run(data)
            made_before = self._already_made(order, run, paths)
            if made_before is None:
                waiting[run] = order, paths
            else:
                made[run] = made_before
                self._display.say(f"{order.title}: already trained with the same seed and settings")
        left = list(waiting)
        if len(left) > 1:
            self._display.say(ahead([order for order, _ in waiting.values()]))

        def supply() -> TrainingTask | None:
            return self._task(*waiting[left[0]], left.pop(0), data) if left else None

        def ended(task: TrainingTask, history: list[EpochFigures], end: Done | Failed) -> None:
            run = task.job.run
            if isinstance(end, Failed):
                made[run] = end
                return
            order, paths = waiting[run]
            assert end.test is not None
            made[run] = self._hand_over(order, data, paths, history, end.test)
            self._layout.run(order.study, run).remove_checkpoint()

        def every_turn() -> None:
            if len(orders) > 1:
                self._display.overall(Overall(len(made), len(orders), "trainings"))

        if waiting:
            JobRunner(self.session, every_turn).train(supply, ended)
        return [made.get(order.run(data)) for order, _ in orders]

    def _task(self, order: TrainingOrder, paths: RunFiles, run: str, data: Dataset) -> TrainingTask:
        return TrainingTask(
            order.title,
            Job(
                run=run,
                model=order.model,
                training=order.training,
                data=data.path,
                seed=order.seed,
                # In the run's own folder: an older model in ``paths`` stays complete until the new
                # one is there.
                checkpoint=self._layout.run(order.study, run).checkpoint,
                trial=order.trial or 0,
                hand_over=paths.model,
            ),
        )

    def _already_made(self, order: TrainingOrder, run: str, paths: RunFiles) -> ModelRow | None:
        """The model of this training, if it is still the one in ``paths``."""
        for row in self._records.models(order.study):
            whole = paths.model.is_file() and paths.spec.is_file()
            if row.run == run and whole and paths.spec.read_text(encoding="utf-8") == row.spec:
                return row
        return None

    def _hand_over(
        self,
        order: TrainingOrder,
        data: Dataset,
        paths: RunFiles,
        history: list[EpochFigures],
        test: TestFigures,
    ) -> ModelRow:
        best = best_epoch(history, order.training.monitor)
        assert best is not None
        spec = document(order.model, order.training, order.seed, data, test.own)
        write_atomically(paths.spec, spec)
        write_atomically(paths.history, to_csv(history))
        title = f"{order.study}, {order.title}"
        plots.draw_curves(history, paths.curves, title, monitor=order.training.monitor)
        write_test_results(test, data, paths, title)
        row = ModelRow(
            study=order.study,
            run=order.run(data),
            kind=order.kind,
            title=order.title,
            spec=spec,
            trial=order.trial,
            parameters=test.parameters,
            epochs=len(history),
            best_epoch=best.epoch,
            val_loss=best.val_loss,
            val_accuracy=best.val_accuracy,
            test_loss=test.loss,
            test_accuracy=test.accuracy,
            seconds=sum(figures.seconds for figures in history),
            seed=order.seed,
            path=str(paths.model),
            fingerprint=data.fingerprint,
            val_macro_f1=best.val_macro_f1,
            val_auc=best.val_auc,
        )
        self._records.record_model(row)
        return row


def ahead(orders: Sequence[TrainingOrder]) -> str:
    """How many trainings are to come, and how long they are; one line."""
    most = max(order.training.epochs for order in orders)
    return f"{plural(len(orders), 'training')} of up to {plural(most, 'epoch')}"


def write_test_results(test: TestFigures, data: Dataset, paths: RunFiles, title: str) -> None:
    """Write a model's results on the test images of ``data``, with their figures."""
    plots.draw_confusion(np.array(test.confusion), data.classes, paths.confusion, title)
    tested = EvaluationRecord.of(test, data)
    write_atomically(paths.tested, tested.to_json())
    draw_mistakes(tested, paths.mistakes, title)


@contextmanager
def workshop(
    workspace: Workspace, study: str, workers: Resources, *, aside: bool = False
) -> Iterator[tuple[Delivery, Interruption]]:
    """Start ``workers`` for trainings outside the trials of ``study``.

    With ``aside``, messages go to standard error, because standard output is in use.

    Raises:
        LeaseHeld: Another process runs such trainings now.
    """
    workspace.layout.make(study)
    work = BASELINE if study == BASELINES else RETRAINING
    with (
        StudyLease(workspace.storage.engine, study, work) as lease,
        Session.open(workspace, study, workers, lease, aside=aside) as session,
    ):
        yield Delivery(session), session.interruption
