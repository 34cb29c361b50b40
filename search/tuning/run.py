"""Set up a search from settings (space, plan, study, session) and run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from threadpoolctl import threadpool_limits

from data.catalog import located
from data.dataset import Dataset
from search.errors import SettingsError
from search.interruption import Interruption
from search.scheduling import pruners
from search.scheduling.prior import prior_of
from search.settings import Settings, is_code, is_own
from search.spaces import probe
from search.spaces.builtin import SPACES, Space, make_space
from search.spaces.custom_ranges import OwnRanges
from search.spaces.hypermodel import OwnNetworks
from search.spaces.room import NetworkLimits, Room
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import ORIGIN
from search.study.opening import Command, Opening, open_study
from search.study.recipe import StudyRecipe
from search.study.recorded_curves import of_other_studies
from search.study.workspace import Workspace, provisional_name
from search.tuning import messages
from search.tuning.audit import Audited, audit
from search.tuning.job_runner import JobRunner
from search.tuning.observers import Observer
from search.tuning.plan import Outcome, Plan
from search.tuning.session import Session
from search.tuning.tuner import Tuner
from search.workers.hardware import bfloat16_pays
from search.workers.resources import Need, resources
from storage.lease import StudyLease
from storage.study import reports, spelling


@dataclass(frozen=True)
class Searched:
    """A search that has ended, for any reason; ``audited`` is None without an audit."""

    study: optuna.Study
    outcome: Outcome
    interruption: Interruption
    audited: Sequence[Audited] | None = None


def search(
    workspace: Workspace,
    settings: Settings,
    data: Dataset,
    *,
    command: Command = "search",
    observers: Sequence[Observer] = (),
) -> Searched:
    """Run the study of the settings, or resume it.

    Args:
        workspace: Database, tables and files.
        settings: Settings of the search.
        data: The images.
        command: The command that searches. It decides the study's name, if the user did not.
        observers: Objects to notify of the search's progress.

    Raises:
        LeaseHeld: Another tuner is running on the study.
        SettingsError: No network of the space keeps the limits.
        StorageError: The study has other data, space or epochs; or the database fails.
        TreinoError: No worker has enough memory for any network of the space.
    """
    ending = "-curves" if command == "record" else ""
    plain = provisional_name(settings, ending)
    space, remarks = space_of_settings(settings, data, workspace.layout.logs(plain))
    data = workspace.as_studied(settings, data)
    recipe = StudyRecipe.of_search(settings, data, space)
    name = spelling(workspace.storage, workspace.study_name(settings, recipe, ending))
    workspace.layout.make(name)
    by_forecast = settings.sampler == "gp"
    smallest, largest = space.memory_needs(data.input_shape, len(data.classes))
    code = space.code if isinstance(space, OwnNetworks) else ""
    need = Need(data, smallest, largest, code)
    workers = resources(settings.cluster, settings.workers, need)
    most = settings.max_params, settings.max_operations, workers.memory
    room = Room(space, data.input_shape, len(data.classes), NetworkLimits(*most))
    room.check()
    with StudyLease(workspace.storage.engine, name) as lease, Interruption() as interruption:
        opening = Opening.of_search(settings, data, space, command)
        study, new = open_study(workspace.storage, name, recipe, opening)
        studies = {}
        if by_forecast and settings.prior == "auto":
            studies = of_other_studies(study, workspace.storage, workspace.records, space)
        if not study.get_trials(deepcopy=False):
            remarks += _prepare(study, space, settings, room)
        study.pruner = pruners.make_pruner(settings.pruner, settings.epochs)
        wanted = settings.prior if by_forecast else "none"
        # One thread: sums must not depend on the number of cores, nor wait for workers.
        with threadpool_limits(1):
            prior = prior_of(wanted, space.distributions(), studies=studies)
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
            size=settings.size,
            keep=settings.keep,
            audit=settings.audit,
        )
        if new and name != plain:
            remarks.append(f"study {plain!r} has other images; using study {name!r}")
        remarks.append(messages.opening(study, new, plan, str(workers)))
        if not settings.workers and (few := workers.few(largest)):
            remarks.append(few)
        if scarce := messages.few_images(len(data.validation.labels)):
            remarks.append(scarce)
        if by_forecast and (warm_start := messages.knowing(study, new, prior)):
            remarks.append(warm_start)
        here = settings.cluster is None  # else other machines train
        if here and settings.precision == "bfloat16" and bfloat16_pays() is False:
            remarks.append(
                "no bfloat16 instructions on this machine: --precision float32 is faster"
            )
        with Session.open(workspace, name, workers, lease, interruption) as session:
            for remark in remarks:
                session.display.say(remark)
            for observer in observers:
                observer.search_started(workspace, study, session.display.say)
            tuner = Tuner(
                study,
                space,
                data,
                plan,
                session,
                room=room,
                observers=observers,
                reported=reports(workspace.storage, name),
            )
            # The tuner's computations are small: more threads would only take cores from workers.
            with threadpool_limits(1):
                outcome = tuner.run()
            audited: list[Audited] | None = None
            if settings.audit and outcome.may_audit and not interruption.asked:
                audited = audit(
                    study,
                    space,
                    data,
                    runner=JobRunner(session),
                    layout=workspace.layout,
                    monitor=settings.monitor,
                    count=settings.audit,
                )
            session.attach.finish()
            if not outcome.trouble:
                for observer in observers:
                    observer.search_ended(workspace, study, lambda: interruption.now)
            return Searched(study, outcome, session.interruption, audited)


def space_of_settings(settings: Settings, data: Dataset, logs: Path) -> tuple[Space, list[str]]:
    """The space of the settings, and remarks to print about it.

    Raises:
        SettingsError: It is the user's own space, and is invalid.
    """
    values = {name: getattr(settings, name) for name in TrainingDefaults.model_fields}
    training = TrainingDefaults.model_validate(values)
    side = data.input_shape[0]
    if is_code(settings.space):
        if settings.precision != "float32":
            raise SettingsError(
                f"--precision {settings.precision}: not available for your own networks; call "
                "keras.config.set_dtype_policy in your file instead"
            )
        probed = probe.find(
            settings.space,
            data.input_shape,
            len(data.classes),
            logs / "own-network.log",
            data.path,
        )
        remarks = [f"parameters of {settings.space}: {', '.join(probed.ranges)}"]
        if not probed.scales:
            remarks.append(
                "its networks do not seem to scale the pixel values, which are 0 to 255; "
                "add keras.layers.Rescaling(1 / 255)"
            )
        remarks += [f"{settings.space}: {remark}" for remark in probed.remarks]
        own = OwnNetworks(
            training,
            side,
            code=probed.code,
            digest=probed.digest,
            ranges=probed.ranges,
            defaults=probed.defaults,
        )
        return own, remarks
    if is_own(settings.space):
        bases = {name: make_space(name, training, side) for name in SPACES}
        return OwnRanges.read(located(settings.space), bases), []
    return make_space(settings.space, training, side), []


def _prepare(study: optuna.Study, space: Space, settings: Settings, room: Room) -> list[str]:
    """Prepare a study that has no trials; return remarks about it."""
    remarks = []
    for origin, params in space.first_configurations() if settings.documented else ():
        if fault := room.fault(params):
            remarks.append(f"{origin} is left out: {fault}")
        else:
            study.enqueue_trial(params, user_attrs={ORIGIN: origin})
    return remarks
