"""Record trials in the study and in treino's tables. Only the tuner has a recorder."""

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from models.history import MAXIMISED, EpochFigures, best_epoch, objective, objective_name
from models.spec import ModelSpec, OwnSpec, TrainingSpec
from search.figures import plots
from search.protocol import NetworkSize
from search.spaces.unit_cube import Params
from search.study.attributes import (
    DEATHS,
    DECISIONS,
    DUPLICATE,
    MEMORY,
    MEMORY_HAD,
    OF_TREINO,
    ORIGIN,
    OWN_FAULT,
    PROCESSORS,
    PRUNED,
    REASON,
    RETRY_OF,
    UNFIT,
)
from search.study.trials import counted, history, lowest, run_name, seed_number
from storage.errors import StorageError
from storage.files import Layout, RunFiles
from storage.tables import Records


@dataclass
class LiveTrial:
    """An unfinished trial of the study, with its network and training.

    Attributes:
        trial: Optuna's handle.
        params: Configuration.
        model: Network.
        training: How the network is trained.
        seed: Seed of the training.
        parameters: Number of weights; 0 while unknown for a network of the user's own.
        history: Epochs so far.
        reported: Epochs reported to the study.
    """

    trial: optuna.Trial
    params: Params
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    seed: int
    parameters: int
    history: list[EpochFigures] = field(default_factory=list)
    reported: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Load the epochs that are reported to the study."""
        frozen = self.trial.storage.get_trial(self.trial._trial_id)  # noqa: SLF001 - no public API
        self.reported = set(frozen.intermediate_values)

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.trial.number

    @property
    def run(self) -> str:
        """Name of its training in treino's tables and folders."""
        return run_name(self.number)


class TrialRecorder:
    """Records trials in the study and in treino's tables. Only the tuner has one.

    Nothing else writes to the study meanwhile, so the recorder caches what it has written: reading
    a study takes longer the more trials are paused.
    """

    def __init__(
        self, study: optuna.Study, records: Records, layout: Layout, *, monitor: str, keep: int
    ) -> None:
        """Record trials of ``study``. The best ``keep`` finished trials keep their checkpoints."""
        self._study = study
        self._records = records
        self._layout = layout
        self._monitor = monitor
        self._keep = keep
        self._ids: dict[int, int] = {}  # Optuna's, by number
        self._waiting: deque[int] = deque()
        self._retries: set[int] = set()  # numbers of trials with an enqueued replacement
        self._count = 0  # number of trials in the study, when they were adopted and retried
        self._values: list[float] = []  # of the complete trials
        self._memory: Mapping[str, Any] | None = study.user_attrs.get(MEMORY)

    def adopt(self) -> list[FrozenTrial]:
        """Load the study's trials; returns those of ``counted``."""
        trials = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}  # noqa: SLF001 - no public API
        complete = (t for t in trials if t.state is TrialState.COMPLETE)
        self._values = [lowest(trial) for trial in complete]
        waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
        self._waiting = deque(trial.number for trial in waiting)
        self._retries = {seed_number(trial) for trial in waiting if RETRY_OF in trial.user_attrs}
        self._count = len(trials)
        return counted(trials)

    def retry(self, trial: FrozenTrial) -> bool:
        """Enqueue the configuration of a trial that never trained. The new trial replaces it.

        The new trial trains with the seed of the first one.

        Returns:
            Whether it was enqueued now; False if an earlier tuner has done so.
        """
        if seed_number(trial) in self._retries:  # enqueued by an earlier tuner
            return False
        kept = {ORIGIN: trial.user_attrs[ORIGIN]} if ORIGIN in trial.user_attrs else {}
        self._study.enqueue_trial(trial.params, user_attrs={**kept, RETRY_OF: seed_number(trial)})
        self._waiting.append(self._count)
        self._count += 1
        return True

    @property
    def memory(self) -> Mapping[str, Any] | None:
        """What the search's chooser has learned, set by this or an earlier tuner."""
        return self._memory

    @memory.setter
    def memory(self, memory: Mapping[str, Any] | None) -> None:
        if memory != self._memory:
            self._memory = memory
            self._study.set_user_attr(MEMORY, memory)

    @property
    def waiting(self) -> int:
        """Number of enqueued trials that have not begun."""
        return len(self._waiting)

    def take_waiting(self) -> optuna.Trial:
        """Begin the trial that was enqueued first."""
        trial = self._study.ask()
        self._ids[trial.number] = trial._trial_id  # noqa: SLF001 - no public API
        self._waiting.remove(trial.number)
        return trial

    def begin(self, params: Params, distributions: Mapping[str, BaseDistribution]) -> optuna.Trial:
        """Begin a trial of a configuration, with a single write so that it is never partial."""
        template = create_trial(
            state=TrialState.RUNNING, params=dict(params), distributions=dict(distributions)
        )
        storage, study = self._study._storage, self._study._study_id  # noqa: SLF001 - add_trial returns no number
        identity = storage.create_new_trial(study, template_trial=template)
        trial = optuna.Trial(self._study, identity)
        self._ids[trial.number] = identity
        return trial

    def handle(self, number: int) -> optuna.Trial:
        """A handle on an unfinished trial."""
        return optuna.Trial(self._study, self._ids[number])

    def refuse_duplicate(self, trial: optuna.Trial, first: int) -> None:
        """End a trial with the same configuration as trial ``first``."""
        trial.set_user_attr(DUPLICATE, first)
        self._study.tell(trial, state=TrialState.FAIL)

    def refuse_unfit(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial that is too large, as FAIL: samplers must not learn to avoid its like."""
        trial.set_user_attr(REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def paths(self, live: LiveTrial) -> RunFiles:
        """Paths of the trial's files."""
        return self._layout.run(self._study.study_name, live.run)

    def judged(self, figures: EpochFigures) -> float:
        """The figure that the study minimises."""
        return objective(figures, self._monitor)

    def note(self, live: LiveTrial, figures: EpochFigures) -> None:
        """Record an epoch, and report it to the study once, even if called again."""
        live.history.append(figures)
        self._records.record_epoch(self._study.study_name, live.run, figures.to_dict())
        if figures.epoch not in live.reported:
            live.trial.report(self.judged(figures), figures.epoch)
            live.reported.add(figures.epoch)

    def decide_pruned(self, live: LiveTrial, pruner: str) -> None:
        """Store that the trial is pruned, and why.

        Called before the decision takes effect, so that it survives the tuner's death.
        """
        figures = live.history[-1]
        live.trial.set_user_attr(
            PRUNED,
            f"pruned by {pruner} after epoch {figures.epoch} of {live.training.epochs}: "
            f"{objective_name(self._monitor)} {self.judged(figures):.4f}",
        )

    def decided(self, live: LiveTrial, decision: str) -> None:
        """Append a decision about the trial, with its reason."""
        before = live.trial.user_attrs.get(DECISIONS, [])
        if decision not in before[-1:]:  # repeated if a tuner was killed in between
            live.trial.set_user_attr(DECISIONS, [*before, decision])

    def unfit(self, live: LiveTrial, memory: int | None = None) -> None:
        """Mark the configuration as bad: it diverged, or ran out of ``memory`` bytes."""
        live.trial.set_user_attr(UNFIT, value=True)
        if memory is not None:
            live.trial.set_user_attr(MEMORY_HAD, memory)

    def built(self, live: LiveTrial, size: NetworkSize) -> None:
        """Store the size of a user's own network, which is known once it is built."""
        for key, value in asdict(size).items():
            if value and live.trial.user_attrs.get(key) != value:
                live.trial.set_user_attr(key, value)

    def own_fault(self, live: LiveTrial) -> None:
        """Mark the trial as failed in the user's code, perhaps because of its configuration."""
        live.trial.set_user_attr(OWN_FAULT, value=True)

    def set_by_user(self, live: LiveTrial, attributes: Mapping[str, Any]) -> None:
        """Store what the user's code has set on its trial.

        Names that treino uses itself get "own" before them.
        """
        stored = live.trial.user_attrs if attributes else {}
        for key, value in attributes.items():
            name = f"own {key}" if key in OF_TREINO else key
            if name not in stored or stored[name] != value:
                live.trial.set_user_attr(name, value)

    def note_death(self, live: LiveTrial, epoch: int, times: int) -> None:
        """Store how often the trial's worker has died after the same epoch."""
        live.trial.set_user_attr(DEATHS, {"after epoch": epoch, "times": times})

    def note_processor(self, live: LiveTrial, processor: str) -> None:
        """Store on which type of processor the trial trains from here: its results may differ."""
        before = live.trial.user_attrs.get(PROCESSORS, [])
        if processor not in before[-1:]:
            live.trial.set_user_attr(PROCESSORS, [*before, processor])

    def recall(self, live: LiveTrial) -> None:
        """Load the trial's history from treino's tables."""
        live.history = history(self._records, self._study.study_name, live.run)

    def end(self, live: LiveTrial, state: TrialState, reason: str = "") -> None:
        """End the trial in the study, with a summary in its attributes."""
        best = best_epoch(live.history, live.training.monitor)
        attributes: dict[str, Any] = {
            "parameters": live.parameters,
            "epochs": len(live.history),
            "seconds": round(sum(figures.seconds for figures in live.history), 1),
        }
        if best is not None:
            attributes |= {"best epoch": best.epoch, "val_accuracy": round(best.val_accuracy, 4)}
            if self._monitor in MAXIMISED:
                measured = {"val_loss": best.val_loss, self._monitor: getattr(best, self._monitor)}
                attributes |= {name: round(value, 4) for name, value in measured.items()}
        if reason:
            attributes[REASON] = reason
        for key, value in attributes.items():
            live.trial.set_user_attr(key, value)
        value = None
        if state is TrialState.COMPLETE:
            losses = (self.judged(figures) for figures in live.history)
            value = min(filter(math.isfinite, losses))
            self._values.append(value)
        self._upload(live, state, with_model=value in sorted(self._values)[: self._keep])
        self._study.tell(live.trial, value, state=state)
        # Remove here what ``tidy`` would remove in any case, to save disk space.
        self.paths(live).remove_checkpoint(but_the_newest=self._keep > 0)

    def _upload(self, live: LiveTrial, state: TrialState, *, with_model: bool) -> None:
        """Store spec, figure of the curves and model as artifacts for the dashboard.

        Store the model only if the trial is among the best when it ends, which becomes rare.
        """
        paths = self.paths(live)
        store = FileSystemArtifactStore(self._layout.artifacts)
        files = [paths.spec]
        if live.history:
            title = f"{self._study.study_name}, trial {live.number}"
            plots.draw_curves(live.history, paths.curves, title, subtitle=state.name.lower())
            files.append(paths.curves)
        if with_model and paths.model.exists():
            files.append(paths.model)
        try:
            self._layout.artifacts.mkdir(parents=True, exist_ok=True)
            for file in files:
                upload_artifact(
                    artifact_store=store,
                    file_path=str(file),
                    study_or_trial=live.trial,
                    storage=self._study._storage,  # noqa: SLF001 - the storage of the study
                )
        except OSError as error:
            raise StorageError(
                f"cannot store artifacts in {self._layout.artifacts}: {error.strerror or error}"
            ) from error
        paths.model.unlink(missing_ok=True)  # stored as an artifact, or not among the best

    def tidy(self, spared: Collection[int] = ()) -> None:
        """Limit disk usage: remove checkpoints of finished trials that are not among the best.

        The trials with the numbers ``spared`` keep theirs, too.
        """
        finished = [t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()]
        for rank, trial in enumerate(sorted(finished, key=lowest)):
            files = self._layout.run(self._study.study_name, run_name(trial.number))
            files.remove_checkpoint(but_the_newest=rank < self._keep or trial.number in spared)
