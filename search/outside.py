"""A training outside the study, from job to handed-over model: the retrained best, a baseline."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.dataset import Dataset
from models.history import EpochFigures, best_epoch, to_csv
from models.spec import ModelSpec, TrainingSpec, count_parameters
from search import plots
from search.backends.base import Backend
from search.errors import TrainingFailedError
from search.interruption import Interruption
from search.jobs import Done, EpochDone, Failed, Job, Paused, Resumed, TestFigures, Verdict
from search.progress import Display
from search.provenance import document
from search.scheduler import PATIENCE
from search.tuner import TURN
from search.watchdog import Watchdog
from storage.files import Layout, RunFiles, write_atomically
from storage.tables import ModelRow, Records


@dataclass(frozen=True)
class Order:
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
    kind: Literal["retrain", "baseline"]
    name: str
    title: str
    model: ModelSpec
    training: TrainingSpec
    seed: int
    trial: int | None = None

    def run(self, data: Dataset) -> str:
        """Name of the training: another one as soon as anything about it is another."""
        what = (self.model.to_json(), self.training.to_json(), str(self.seed), data.fingerprint)
        return f"{self.name}-{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:8]}"


class Workshop:
    """Trains orders on one worker, with a record of every epoch, and hands over the models."""

    def __init__(
        self,
        *,
        backend: Backend,
        records: Records,
        layout: Layout,
        display: Display,
        interruption: Interruption,
        every_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Work on slot 0 of ``backend``."""
        self._backend = backend
        self._records = records
        self._layout = layout
        self._display = display
        self._interruption = interruption
        self._every_turn = every_turn

    def make(self, order: Order, data: Dataset, paths: RunFiles) -> ModelRow | None:
        """Train an order, or go on with it, and put what comes out at ``paths``.

        Returns:
            The model as recorded; None if the training was interrupted, to be gone on with by
            the same call.

        Raises:
            TrainingFailedError: The training broke.
        """
        run = order.run(data)
        known = self._already_made(order, run, paths)
        if known is not None:
            self._display.say(f"{order.title}: trained already, with the same seed and settings")
            return known
        job = Job(
            run=run,
            model=order.model,
            training=order.training,
            data=data.path,
            seed=order.seed,
            # In a folder of its own: ``paths`` may still hold an older model, which stays whole
            # until the new one is there.
            checkpoint=self._layout.run(order.study, run).checkpoint,
            hand_over=paths.model,
        )
        deaths = reached = 0
        while True:
            history, end = self._train(order, job)
            if isinstance(end, Done) and end.test is not None:
                row = self._hand_over(order, data, paths, history, end.test)
                self._layout.run(order.study, run).remove_checkpoint()
                return row
            if isinstance(end, Paused) or self._interruption.asked:
                return None
            assert isinstance(end, Failed)
            # As with a trial: what gets on between two deaths is not what kills its workers.
            deaths = deaths + 1 if len(history) == reached else 1
            reached = len(history)
            if end.kind != "died" or deaths >= PATIENCE:
                raise TrainingFailedError(f"{order.title}: {end.reason}")
            self._display.say(f"{order.title}: {end.reason}; going on from its last epoch")

    def _already_made(self, order: Order, run: str, paths: RunFiles) -> ModelRow | None:
        """The model of this very training, if it is still what lies at ``paths``."""
        for row in self._records.models(order.study):
            whole = paths.model.is_file() and paths.spec.is_file()
            if row.run == run and whole and paths.spec.read_text(encoding="utf-8") == row.spec:
                return row
        return None

    def _train(self, order: Order, job: Job) -> tuple[list[EpochFigures], Done | Paused | Failed]:
        history: list[EpochFigures] = []
        watchdog = Watchdog()
        watchdog.started(0, time.monotonic())
        self._display.job_started(0, order.title, job.training.epochs)
        self._backend.start(0, job)
        killed = False
        while True:
            for _, message in self._backend.wait(TURN):
                if isinstance(message, Resumed | EpochDone):
                    told = (message.figures,) if isinstance(message, EpochDone) else message.history
                    watchdog.heard(0, time.monotonic())
                    for figures in told:
                        watchdog.heard(0, time.monotonic(), figures.seconds)
                        history.append(figures)
                        self._records.record_epoch(order.study, job.run, figures.to_dict())
                        self._display.job_at(0, figures)
                    pause = self._interruption.asked and not message.last
                    self._backend.answer(0, Verdict.PAUSE if pause else Verdict.GO_ON)
                elif isinstance(message, Done | Paused | Failed):
                    self._display.job_ended(0, _how_it_ended(order, history, message))
                    return history, message
            if self._interruption.now and not killed:
                killed = True
                self._backend.kill(0, "stopped by the user")
            for reason in watchdog.hung(time.monotonic()).values():
                watchdog.ended(0)
                self._backend.kill(0, reason)
            self._every_turn()

    def _hand_over(
        self,
        order: Order,
        data: Dataset,
        paths: RunFiles,
        history: list[EpochFigures],
        test: TestFigures,
    ) -> ModelRow:
        best = best_epoch(history)
        assert best is not None
        spec = document(order.model, order.training, order.seed, data)
        write_atomically(paths.spec, spec)
        write_atomically(paths.history, to_csv(history))
        title = f"{order.study}, {order.title}"
        plots.draw_curves(history, paths.curves, title)
        plots.draw_confusion(np.array(test.confusion), data.classes, paths.confusion, title)
        row = ModelRow(
            study=order.study,
            run=order.run(data),
            kind=order.kind,
            title=order.title,
            spec=spec,
            trial=order.trial,
            parameters=count_parameters(order.model, data.input_shape, len(data.classes)),
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
        )
        self._records.record_model(row)
        return row


def _how_it_ended(order: Order, history: list[EpochFigures], end: Done | Paused | Failed) -> str:
    if isinstance(end, Paused):
        return f"{order.title}: paused after epoch {len(history)}"
    if isinstance(end, Failed):
        return f"{order.title}: {end.reason}"
    best = best_epoch(history)
    assert best is not None
    assert end.test is not None
    return (
        f"{order.title}: val_loss {best.val_loss:.4f}  val_accuracy {best.val_accuracy:.4f}  "
        f"at epoch {best.epoch} of {len(history)}  test_accuracy {end.test.accuracy:.4f}"
    )
