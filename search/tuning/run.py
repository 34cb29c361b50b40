"""From settings to a search: its space, its plan, its study, its session."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from threadpoolctl import threadpool_limits

from data.catalog import located
from data.dataset import Dataset
from search.errors import SettingsError
from search.interruption import Interruption
from search.scheduling import samplers
from search.scheduling.prior import prior_of
from search.settings import Settings, is_code, is_own
from search.spaces import probe
from search.spaces.builtin import SPACES, Space, make_space
from search.spaces.custom_ranges import OwnRanges
from search.spaces.hypermodel import OwnNetworks
from search.study.attributes import ORIGIN
from search.study.workspace import Workspace, made_by, made_with, provisional_name
from search.tuning import messages
from search.tuning.audit import Audited, audit
from search.tuning.job_runner import JobRunner
from search.tuning.observers import Observer
from search.tuning.plan import Outcome, Plan
from search.tuning.session import Session
from search.tuning.tuner import Tuner
from search.workers.hardware import bfloat16_pays, check_room, few_workers, memory, slots
from storage.lease import StudyLease
from storage.study import create_or_check, reports, spelling


@dataclass(frozen=True)
class Searched:
    """A search that has ended, for whatever reason; ``audited`` is None without an audit."""

    study: optuna.Study
    outcome: Outcome
    interruption: Interruption
    audited: Sequence[Audited] | None = None


def search(
    place: Workspace,
    settings: Settings,
    data: Dataset,
    *,
    ending: str = "",
    observers: Sequence[Observer] = (),
) -> Searched:
    """Run the study that the settings name, or go on with it.

    Args:
        place: Where.
        settings: Of the search.
        data: The images.
        ending: Of the study's name, where the user did not give one.
        observers: Who is told of its progress.

    Raises:
        LeaseHeld: Another tuner works on it.
        StorageError: It was made with other data, space or epochs; or the database fails.
        TreinoError: No worker has the memory for any network of the space.
    """
    plain = provisional_name(settings, ending)
    space, remarks = space_of_settings(settings, data, place.layout.logs(plain))
    data = place.as_studied(settings, data)
    made = made_with(settings, data, space)
    name = spelling(place.storage, place.study_name(settings, made, ending))
    place.layout.make(name)
    by_forecast = settings.sampler == "gp"
    prior = prior_of(settings.prior if by_forecast else "none", space.distributions())
    smallest, largest = space.memory_needs(data.input_shape, len(data.classes))
    workers = slots(settings.workers, largest)
    check_room(workers, smallest)
    with StudyLease(place.storage.engine, name) as lease:
        study, new = create_or_check(place.storage, name, made, made_by(settings, data, space))
        if not study.get_trials(deepcopy=False):
            _prepare(study, space, settings)
        study.pruner = samplers.make_pruner(settings.pruner, settings.epochs)
        plan = Plan(
            trials=settings.trials_wanted,
            seed=settings.seed,
            sampler=settings.sampler,
            prior=prior,
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
        if new and name != plain:
            remarks.append(f"study {plain!r} is of other images: this one is {name!r}")
        remarks.append(messages.opening(study, new, plan, workers))
        if not settings.workers and (few := few_workers(workers, largest)):
            remarks.append(few)
        if by_forecast and (known := messages.knowing(study, new, prior)):
            remarks.append(known)
        if settings.precision == "bfloat16" and bfloat16_pays() is False:
            remarks.append("no bfloat16 instructions here: --precision float32 would be quicker")
        with Session.open(place, name, workers, lease) as session:
            for remark in remarks:
                session.display.say(remark)
            tuner = Tuner(
                study,
                space,
                data,
                plan,
                session,
                observers=observers,
                reported=reports(place.storage, name),
            )
            # The tuner's sums are small: more threads would only take the workers' cores.
            with threadpool_limits(1):
                outcome = tuner.run()
            audited: list[Audited] | None = None
            if settings.audit and outcome.may_audit:
                audited = audit(
                    study,
                    space,
                    data,
                    crew=JobRunner(session),
                    layout=place.layout,
                    monitor=settings.monitor,
                    count=settings.audit,
                )
            if not outcome.trouble:
                for observer in observers:
                    observer.search_ended(place, study)
            return Searched(study, outcome, session.interruption, audited)


def space_of_settings(settings: Settings, data: Dataset, logs: Path) -> tuple[Space, list[str]]:
    """The space that the settings name, and what there is to be said of it.

    Raises:
        SettingsError: It is the user's own, and cannot be used.
    """
    common: dict[str, Any] = {
        "epochs": settings.epochs,
        "image_side": data.input_shape[0],
        "train_order": settings.train_order,
        "augment": settings.augment,
        "precision": settings.precision,
        "early_stopping": settings.early_stopping,
    }
    if is_code(settings.space):
        if settings.precision != "float32":
            raise SettingsError(
                f"--precision {settings.precision}: networks of your own decide that themselves "
                "(keras.config.set_dtype_policy in your file)"
            )
        found = probe.find(
            settings.space, data.input_shape, len(data.classes), logs / "own-network.log"
        )
        remarks = [f"{settings.space} asks for {', '.join(found.ranges)}"]
        if not found.scales:
            remarks.append(
                "its networks do not seem to scale their images, which come as 0 to 255: "
                "keras.layers.Rescaling(1 / 255) does"
            )
        remarks += [f"{settings.space}: {remark}" for remark in found.remarks]
        own = OwnNetworks(**common, code=found.code, digest=found.digest, ranges=found.ranges)
        return own, remarks
    if is_own(settings.space):
        bases = {name: make_space(name, **common) for name in SPACES}
        return OwnRanges.read(located(settings.space), bases), []
    return make_space(settings.space, **common), []


def _prepare(study: optuna.Study, space: Space, settings: Settings) -> None:
    """What a study has before its first trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([settings.monitor])  # else the dashboard says "Objective 0"
    if settings.documented:
        for origin, params in space.first_configurations():
            study.enqueue_trial(params, user_attrs={ORIGIN: origin})
