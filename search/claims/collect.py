"""Runs the paired trainings that the report's claims still need, within a budget."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna

from data.dataset import Dataset
from models.history import EpochFigures
from models.spec import SpecError
from search.claims import pairing
from search.claims.catalog import Claim
from search.claims.pairing import PairTraining
from search.claims.verdicts import Key
from search.console.display import Overall
from search.console.text import plural
from search.errors import NothingToTrainError
from search.protocol import PATIENCE, Done, Failed, Job
from search.spaces.builtin import Space
from search.spaces.room import NetworkLimits, check_fits
from search.study.recipe import recipe_of
from search.study.training_order import TrainingOrder
from search.study.workspace import Workspace
from search.tuning.job_runner import JobRunner, TrainingTask
from search.tuning.session import Session
from search.workers.resources import Need, resources
from storage.files import Layout, write_atomically
from storage.lease import PAIRS, StudyLease
from storage.tables import Records


@dataclass(frozen=True)
class Limits:
    """Limits of paired trainings.

    Attributes:
        epochs: Total epochs of the study's paired trainings; None for no limit.
        memory: Bytes that one worker may use; None for no limit.
    """

    epochs: int | None = None
    memory: int | None = None


@dataclass
class PairCollector:
    """Supplies the next needed trainings to a job runner, and records their results.

    Attributes:
        study: The study.
        space: Its space.
        data: Its images.
        claims: The claims to settle.
        session: The session with its workers.
        limits: Limits of the trainings.
        failed: Titles of the failed trainings.
    """

    study: optuna.Study
    space: Space
    data: Dataset
    claims: Sequence[Claim]
    session: Session
    limits: Limits = Limits()
    failed: list[str] = field(default_factory=list, init=False)
    _busy: dict[str, tuple[PairTraining, TrainingOrder]] = field(default_factory=dict, init=False)
    _in_a_row: int = field(default=0, init=False)
    _given_up: set[tuple[Key, int]] = field(default_factory=set, init=False)

    @property
    def _records(self) -> Records:
        return self.session.workspace.records

    @property
    def _layout(self) -> Layout:
        return self.session.workspace.layout

    def run(self) -> None:
        """Train until the claims are settled or cannot be, the budget ends, or the user stops.

        Another call resumes it.

        Raises:
            NothingToTrainError: There is no configuration to train around.
            TrainingFailedError: No training can continue.
        """
        self._anchors = pairing.anchors_of(self.study, self.space, self._records)
        if not self._anchors:
            raise NothingToTrainError(
                f"study {self.study.study_name!r} has no trial of the documents' space to train "
                "pairs around: resume the search first (make search)"
            )
        self._view = pairing.view_of(self.study, self._records)
        self._seed = recipe_of(self.study).seed
        self.session.display.say(self._plan())
        JobRunner(self.session).train(self.supply, self.ended)

    def supply(self) -> TrainingTask | None:
        """The next training; None if there is none for now."""
        while self._in_a_row < PATIENCE:
            work = pairing.next_work(
                self._view,
                self._anchors,
                self._seed,
                claims=self.claims,
                busy={work.key for work, _ in self._busy.values()},
                given_up=self._given_up,
            )
            if work is None:
                return None
            order = work.order(self.study.study_name, self.space)
            run = order.run(self.data)
            self._tell()
            if self.limits.epochs is not None and self._spent(run) > self.limits.epochs:
                return None
            try:
                check_fits(
                    order.model,
                    order.training,
                    self.data.input_shape,
                    len(self.data.classes),
                    NetworkLimits(memory=self.limits.memory),
                )
            except SpecError as error:
                self.session.display.say(f"{work.title}: not trained: {error}")
                self._given_up.add(work.key)
                continue
            files = self._layout.run(order.study, run)
            write_atomically(files.spec, pairing.spec_of(order, work, self.data))
            self._busy[run] = (work, order)
            job = Job(
                run=run,
                model=order.model,
                training=order.training,
                data=self.data.path,
                seed=order.seed,
                checkpoint=files.checkpoint,
            )
            return TrainingTask(order.title, job)
        return None  # they all fail: the networks are not the cause

    def ended(self, task: TrainingTask, history: list[EpochFigures], end: Done | Failed) -> None:
        """Record a training; a diverged one counts with its earlier epochs."""
        run = task.job.run
        work, order = self._busy.pop(run)
        row = None
        if isinstance(end, Done) or end.kind == "diverged":
            row = pairing.row_of(order, work, self.data, history)
        if row is None:
            self._given_up.add(work.key)
            self.failed.append(task.title)
            self._in_a_row += 1
        else:
            self._records.record_model(row)
            self._in_a_row = 0
        self._layout.run(order.study, run).remove_checkpoint()
        self._view = pairing.view_of(self.study, self._records)
        self._tell()

    def _spent(self, starting: str = "") -> int:
        """Epochs of paired trainings so far; running ones and ``starting`` count in full."""
        under_way = {*self._busy, starting} - {""}
        return sum((self._recorded() | dict.fromkeys(under_way, self._view.epochs)).values())

    def _recorded(self) -> dict[str, int]:
        """Number of epochs of each paired training so far."""
        epochs = self._records.epochs_of_study(self.study.study_name)
        return {run: len(e) for run, e in epochs.items() if run.startswith(f"{pairing.KIND}-")}

    def _tell(self) -> None:
        if self.limits.epochs is not None:
            spent = sum(self._recorded().values())
            self.session.display.overall(Overall(spent, self.limits.epochs, "epochs"))

    def _plan(self) -> str:
        around = " and ".join(anchor.name for anchor in self._anchors)
        first = pairing.most_work(self._view, self._anchors, self._seed, self.claims)
        limit = (
            "" if self.limits.epochs is None else f"; up to {self.limits.epochs:,} epochs in total"
        )
        done = plural(len(self._view.pairs), "paired training")
        return (
            f"{done} so far; a first look at every open claim takes {first} more, with "
            f"{plural(self._view.epochs, 'epoch')} each, around {around}{limit}"
        )


@contextmanager
def settler(
    workspace: Workspace,
    study: optuna.Study,
    space: Space,
    data: Dataset,
    *,
    claims: Sequence[Claim],
    workers: int,
    epochs: int | None,
    cluster: str | None = None,
    aside: bool = False,
) -> Iterator[PairCollector]:
    """Start all workers for the paired trainings that ``claims`` need; see PairCollector.

    Raises:
        LeaseHeld: Another process trains pairs of that study now.
        TreinoError: No worker has enough memory for any network of the space.
    """
    name = study.study_name
    workspace.layout.make(name)
    smallest, largest = space.memory_needs(data.input_shape, len(data.classes))
    wanted = resources(cluster, workers, Need(data, smallest, largest))
    limits = Limits(epochs=epochs, memory=wanted.memory)
    with (
        StudyLease(workspace.storage.engine, name, PAIRS) as lease,
        Session.open(workspace, name, wanted, lease, aside=aside) as session,
    ):
        yield PairCollector(study, space, data, claims, session, limits)
