"""A tuner on simulated workers, with a real study and real tables: for tests of whole searches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, event

from data.dataset import Dataset
from models.history import EpochFigures
from models.spec import ModelSpec
from search.console.display import Display, Overall
from search.interruption import Interruption
from search.protocol import Job
from search.scheduling.prior import Prior
from search.scheduling.pruners import make_pruner
from search.spaces.builtin import Space
from search.spaces.room import NetworkLimits, Room
from search.study.opening import open_study
from search.study.workspace import Workspace
from search.tuning.plan import Outcome, Plan
from search.tuning.session import Session
from search.tuning.tuner import Tuner
from search.workers.backends.simulated import Curve, SimulatedBackend
from storage.engine import database_url, open_storage
from storage.files import Layout
from storage.patient import PatientStorage
from storage.tables import Records
from tests.support.recipes import opening, recipe

EPOCHS = 4
RUNGS = (3, 9)


class Said(Display):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: Overall | None = None

    def say(self, line: str) -> None:
        self.lines.append(line)

    def job_started(self, slot: int, title: str, epochs: int) -> None:
        self.lines.append(f"{title}: started")

    def job_at(self, slot: int, figures: EpochFigures) -> None:
        pass

    def job_ended(self, slot: int, line: str) -> None:
        self.lines.append(line)

    def overall(self, overall: Overall) -> None:
        self.last = overall


class Killed(BaseException):
    """What a SIGKILL is to a test that has to go on after it."""


@dataclass(eq=False)
class Writes:
    """Counts a database's commits; the one numbered ``last`` does not happen any more."""

    last: int | None = None
    done: int = 0

    def __call__(self, connection: Connection) -> None:
        self.done += 1
        if self.done == self.last:
            connection.invalidate()  # its lock goes as a dead process's would
            raise Killed


@dataclass
class Lab:
    """A study in a folder, searched as often as a test likes."""

    data: Dataset
    var: Path
    space: Space
    said: Said
    prior: Prior | None = None
    memory: int | None = None
    max_parameters: int | None = None
    monitor: str = "val_loss"
    size: str = ""
    url: str = ""  # of the database; by default a file in ``var``
    _opened: list[PatientStorage] = field(default_factory=list)  # shared with its copies

    def storage(self, *, write: bool) -> PatientStorage:
        """The database, until ``close``."""
        storage = open_storage(database_url(self.url or str(self.var / "treino.db")), write=write)
        self._opened.append(storage)
        return storage

    def close(self) -> None:
        """Close the database, however often it was opened."""
        for storage in self._opened:
            storage.engine.dispose()
        self._opened.clear()

    def search(
        self,
        curve: Curve,
        *,
        trials: int | None = 5,
        workers: int = 1,
        sampler: str = "tpe",
        pruner: str = "none",
        budget: int | None = None,
        stop_when_flat: bool = False,
        documented: bool = True,
        backend: SimulatedBackend | None = None,
        timeout: float | None = None,
        keep: int = 5,
        seed: int = 7,
        writes: Writes | None = None,
        patience: float = 0.0,
    ) -> Outcome:
        storage = self.storage(write=True)
        if writes is not None:
            event.listen(storage.engine, "commit", writes)
        study, new = open_study(
            storage, "lab", recipe(monitor=self.monitor, size=self.size), opening()
        )
        params = self.space.of_documented_run()
        if new and documented and params:
            study.enqueue_trial(params)
        study.pruner = make_pruner(pruner, self.space.epochs)
        records = Records(storage.engine, storage.outages)
        place = Workspace(storage, records, Layout(self.var))
        plan = Plan(
            trials=trials,
            seed=seed,
            sampler=sampler,
            pruner=pruner,
            budget=budget,
            stop_when_flat=stop_when_flat,
            timeout=timeout,
            keep=keep,
            prior=self.prior,
            monitor=self.monitor,
            size=self.size,
        )
        with (
            backend or SimulatedBackend(workers, curve) as at_work,
            Interruption() as interruption,
            storage.outages.endured(
                storage.engine, patience, say=self.said.say, stopped=lambda: interruption.now
            ),
        ):
            session = Session(place, "lab", at_work, self.said, interruption)
            limits = NetworkLimits(parameters=self.max_parameters, memory=self.memory)
            room = Room(self.space, self.data.input_shape, len(self.data.classes), limits)
            return Tuner(study, self.space, self.data, plan, session, room=room).run()

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="lab", storage=self.storage(write=False))

    @property
    def study_for_writing(self) -> optuna.Study:
        """The study, for what another program might do to it."""
        return optuna.load_study(study_name="lab", storage=self.storage(write=True))

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials()

    @property
    def epochs(self) -> dict[str, list[int]]:
        recorded = Records(self.storage(write=False).engine).epochs_of_study("lab")
        return {run: [row.epoch for row in rows] for run, rows in recorded.items()}


def figures(epoch: int, val_loss: float) -> EpochFigures:
    return EpochFigures(epoch, 1.0, 0.5, val_loss, 0.5, 1.0, val_loss, 0.001, 2.0)


def bowl(job: Job) -> Sequence[EpochFigures]:
    """A curve that is best in the middle and depends on the configuration."""
    assert isinstance(job.model, ModelSpec)
    level = job.training.learning_rate * 100 + job.model.dense.dropout
    return [figures(e, level + abs(e - 3) / 10) for e in range(1, job.training.epochs + 1)]


def blank_picture(_history: object, path: Path, _title: str, **_: str) -> None:
    """Stands in for ``search.figures.plots.draw_curves``."""
    path.write_bytes(b"no picture")


def told(trials: Sequence[FrozenTrial]) -> list[tuple[object, ...]]:
    """What must not depend on how often a search was broken off."""
    return [(t.state, t.params, t.values, t.intermediate_values) for t in trials]
