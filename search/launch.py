"""From settings to work under way: a search, or a workshop for trainings outside it.

Everything that has to be taken and given back is taken here: the lease, the signals, the
workers, the display.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from threadpoolctl import threadpool_limits

from data.dataset import Dataset
from search import messages, notes, scheduler
from search.audit import Audited, audit
from search.backends.local import LocalBackend
from search.crew import Crew
from search.interruption import Interruption
from search.machine import lacks_bfloat16, memory, slots
from search.outside import Workshop
from search.progress import make_display
from search.settings import Settings
from search.settle import Limits, Settler
from search.space import Space, make_space
from search.statements import Claim
from search.tuner import Outcome, Plan, Tuner
from search.workspace import Workspace, made_by, made_with, study_name
from storage.lease import LeaseHeld, StudyLease
from storage.study import create_or_check, reports


@dataclass(frozen=True)
class Searched:
    """A search that has ended, for whatever reason."""

    study: optuna.Study
    outcome: Outcome
    interruption: Interruption
    audited: Sequence[Audited] = ()


def search(place: Workspace, settings: Settings, data: Dataset) -> Searched:
    """Run the study that the settings name, or go on with it.

    Raises:
        LeaseHeld: Another tuner works on it.
        StorageError: It was made with other data, space or epochs; or the database fails.
    """
    name = study_name(settings)
    space = make_space(
        settings.space,
        epochs=settings.epochs,
        image_side=data.input_shape[0],
        train_order=settings.train_order,
        augment=settings.augment,
        precision=settings.precision,
        early_stopping=settings.early_stopping,
    )
    workers = slots(settings.workers)
    with StudyLease(place.storage.engine, name) as lease, Interruption() as interruption:
        study, new = create_or_check(
            place.storage, name, made_with(settings, data, space), made_by(settings, data)
        )
        if not study.get_trials(deepcopy=False):
            _prepare(study, space, settings)
        study.pruner = scheduler.make_pruner(settings.pruner, settings.epochs)
        with LocalBackend(workers, place.layout.logs(name)) as backend, make_display() as display:
            plan = Plan(
                trials=settings.trials_wanted,
                seed=settings.seed,
                sampler=settings.sampler,
                pruner=settings.pruner,
                budget=settings.budget_epochs,
                timeout=settings.timeout,
                stop_when_flat=settings.stop_when_flat,
                monitor=settings.monitor,
                keep=settings.keep,
                audit=settings.audit,
                max_parameters=settings.max_params,
                memory=memory(workers),
            )
            display.say(messages.opening(study, new, plan, workers))
            if settings.precision == "bfloat16" and lacks_bfloat16():
                display.say("no bfloat16 instructions here: --precision float32 would be quicker")
            tuner = Tuner(
                study=study,
                space=space,
                data=data,
                backend=backend,
                records=place.records,
                layout=place.layout,
                plan=plan,
                display=display,
                interruption=interruption,
                every_turn=lease.renew,
                reported=reports(place.storage, name),
            )
            # The tuner's sums are small: more threads would only take the workers' cores.
            with threadpool_limits(1):
                outcome = tuner.run()
            audited: list[Audited] = []
            if settings.audit and not (outcome.trouble or interruption.asked):
                crew = Crew(
                    name,
                    backend=backend,
                    records=place.records,
                    display=display,
                    interruption=interruption,
                    every_turn=lease.renew,
                )
                audited = audit(
                    study,
                    space,
                    data,
                    crew=crew,
                    layout=place.layout,
                    monitor=settings.monitor,
                    count=settings.audit,
                )
            if not outcome.trouble:
                notes.finish(place, study)
            return Searched(study, outcome, interruption, audited)


@contextmanager
def workshop(
    place: Workspace, study: str, *, workers: int = 1
) -> Iterator[tuple[Workshop, Interruption]]:
    """Workers that share all of the machine, for trainings that belong beside ``study``.

    Raises:
        LeaseHeld: Another process trains such a thing now.
    """
    with (
        StudyLease(place.storage.engine, f"{study}/best") as lease,
        Interruption() as interruption,
        LocalBackend(slots(workers), place.layout.logs(study)) as backend,
        make_display() as display,
    ):
        yield (
            Workshop(
                backend=backend,
                records=place.records,
                layout=place.layout,
                display=display,
                interruption=interruption,
                every_turn=lease.renew,
            ),
            interruption,
        )


@contextmanager
def settler(
    place: Workspace,
    study: optuna.Study,
    space: Space,
    data: Dataset,
    *,
    claims: Sequence[Claim],
    workers: int,
    epochs: int | None,
    on_stderr: bool = False,
) -> Iterator[tuple[Settler, Interruption]]:
    """All workers, for the paired trainings that ``claims`` lack; see Settler.

    Raises:
        LeaseHeld: Another process trains pairs of that study now.
    """
    name = study.study_name
    all_slots = slots(workers)
    with (
        StudyLease(place.storage.engine, f"{name}/pairs") as lease,
        Interruption() as interruption,
        LocalBackend(all_slots, place.layout.logs(name)) as backend,
        make_display(stderr=on_stderr) as display,
    ):
        crew = Crew(
            name,
            backend=backend,
            records=place.records,
            display=display,
            interruption=interruption,
            every_turn=lease.renew,
        )
        limits = Limits(epochs=epochs, memory=memory(all_slots))
        yield (
            Settler(
                study=study,
                space=space,
                data=data,
                records=place.records,
                layout=place.layout,
                display=display,
                claims=claims,
                crew=crew,
                limits=limits,
            ),
            interruption,
        )


def attach(place: Workspace, study: optuna.Study) -> None:
    """Show what was handed over among the study's artifacts.

    That writes to the study: while a search is at work on it, it is left to that search's end.
    """
    with suppress(LeaseHeld), StudyLease(place.storage.engine, study.study_name):
        notes.attach_best(study, place.layout)


def _prepare(study: optuna.Study, space: Space, settings: Settings) -> None:
    """What a study has before its first trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([settings.monitor])  # else the dashboard says "Objective 0"
    if settings.documented:
        for origin, params in space.first_configurations():
            study.enqueue_trial(params, user_attrs={"origin": origin})
