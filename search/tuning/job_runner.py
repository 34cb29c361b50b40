"""Trainings outside the study, in parallel on all workers."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from models.history import EpochFigures, best_epoch, told_figures
from search.errors import TrainingFailedError
from search.intervals import told_share
from search.protocol import (
    PATIENCE,
    Done,
    End,
    EpochDone,
    Failed,
    Job,
    Message,
    Paused,
    Resumed,
    Verdict,
)
from search.scheduling.failures import Failures
from search.tuning.session import Session
from search.tuning.worker_loop import WorkerLoop, longest


@dataclass(frozen=True)
class TrainingTask:
    """A training to run: its job, and a title for display."""

    title: str
    job: Job


@dataclass
class _Running:
    task: TrainingTask
    history: list[EpochFigures] = field(default_factory=list)


class JobRunner:
    """Runs training tasks on all slots of a backend, and records every epoch."""

    def __init__(self, session: Session, every_turn: Callable[[], None] = lambda: None) -> None:
        """Run tasks of the session's study. Each turn of the loop calls ``every_turn``."""
        self._study = session.study
        self._backend = session.backend
        self._records = session.workspace.records
        self._display = session.display
        self._interruption = session.interruption
        self._every_turn = every_turn
        self._loop = WorkerLoop(session)
        self._running: dict[int, _Running] = {}
        self._waiting: deque[_Running] = deque()  # for a slot: new, or broken off
        self._failures: Failures[str] = Failures({})
        self._trouble = ""

    def train(
        self,
        supply: Callable[[], TrainingTask | None],
        ended: Callable[[TrainingTask, list[EpochFigures], Done | Failed], None],
    ) -> None:
        """Run the tasks that ``supply`` returns, until there are none or the user interrupts.

        Args:
            supply: Called for the next task whenever a worker is free. Returns None if there is
                no task at the moment.
            ended: Called with each task that has ended, before ``supply`` is called again. A task
                that the user interrupted has not ended.

        Raises:
            TrainingFailedError: No training can continue, for example because the disk is full.
        """
        while True:
            self._fill(supply)
            if not self._running and (self._closing or not self._waiting):
                break
            for slot, message in self._loop.hear():
                self._handle(slot, message, ended)
            for slot, reason in self._loop.look_after().items():
                self._backend.kill(slot, reason)
            self._every_turn()
        if self._trouble:
            raise TrainingFailedError(self._trouble)

    @property
    def _closing(self) -> bool:
        return self._interruption.asked or bool(self._trouble)

    def _fill(self, supply: Callable[[], TrainingTask | None]) -> None:
        """Fill the free slots. Without slots, one task waits for the first."""
        free = deque(slot for slot in self._backend.slots if slot not in self._running)
        while not self._closing and (free or not self._backend.slots):
            task = None if self._waiting else supply()
            if task is not None:
                self._waiting.append(_Running(task))
            if not (free and self._waiting):
                return
            self._start(free.popleft(), self._waiting.popleft())

    def _start(self, slot: int, running: _Running) -> None:
        self._running[slot] = running
        self._display.job_started(slot, running.task.title, running.task.job.training.epochs)
        self._loop.start(slot, running.task.job)

    def _handle(
        self,
        slot: int,
        message: Message,
        ended: Callable[[TrainingTask, list[EpochFigures], Done | Failed], None],
    ) -> None:
        running = self._running[slot]
        if isinstance(message, Resumed | EpochDone):
            epochs: Sequence[EpochFigures]
            if isinstance(message, EpochDone):
                seconds = self._loop.watchdog.epoch_ended(slot, message.figures.seconds)
                epochs = (replace(message.figures, seconds=seconds),)
            else:
                epochs = message.history
                self._loop.watchdog.resumed(slot, longest(epochs))
            for figures in epochs:
                # After a death, a worker trains or repeats epochs that are there already.
                running.history[figures.epoch - 1 :] = [figures]
                self._records.record_epoch(self._study, running.task.job.run, figures.to_dict())
                self._display.job_at(slot, figures)
            pause = self._closing and not message.last
            self._backend.answer(slot, Verdict.PAUSE if pause else Verdict.GO_ON)
            return
        del self._running[slot]
        self._loop.ended(slot)
        self._display.job_ended(slot, _how_it_ended(running, message))
        if isinstance(message, Failed) and message.kind == "environment":
            self._trouble = message.reason
        elif isinstance(message, Failed) and message.kind == "lost":
            self._waiting.append(running)
        elif isinstance(message, Failed) and message.kind == "died":
            self._after_death(running, message, ended)
        elif isinstance(message, Done | Failed):
            ended(running.task, running.history, message)

    def _after_death(
        self,
        running: _Running,
        death: Failed,
        ended: Callable[[TrainingTask, list[EpochFigures], Done | Failed], None],
    ) -> None:
        """Resume from the last epoch, unless workers keep dying at the same epoch."""
        deaths = self._failures.death(running.task.job.run, len(running.history))
        if self._closing:
            return
        if deaths >= PATIENCE:
            ended(running.task, running.history, death)
        else:
            self._waiting.append(running)


def _how_it_ended(running: _Running, end: End) -> str:
    title, epochs = running.task.title, len(running.history)
    if isinstance(end, Failed):
        return f"{title}: {end.reason}"
    if isinstance(end, Paused):
        return f"{title}: paused after epoch {epochs}"
    best = best_epoch(running.history, running.task.job.training.monitor)
    assert best is not None  # a training without a finite val_loss ends as Failed
    line = f"{title}: {told_figures(best)}  at epoch {best.epoch} of {epochs}"
    if isinstance(end, Done) and end.test is not None:
        images = sum(map(sum, end.test.confusion))
        line += f"  test_accuracy {told_share(end.test.accuracy, images)}"
    return line
