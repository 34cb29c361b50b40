"""Record trials in the study and in treino's tables. Only the tuner has a recorder."""

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from models.history import MAXIMISED, EpochFigures, best_epoch, objective, objective_name
from models.spec import ModelSpec, OwnSpec, TrainingSpec
from search.protocol import NetworkSize
from search.spaces.unit_cube import Params
from search.study.attachments import Attaching, Attachments, missing
from search.study.attributes import (
    DEATHS,
    DECISIONS,
    DUPLICATE,
    LATENCY,
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
from search.study.workspace import Workspace
from storage.files import RunFiles
from storage.patient import Write


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
        size: The size that the study minimises; 0 if it minimises none, or while it is unknown.
        history: Epochs so far.
        reported: What the study has, by epoch.
        attributes: User attributes, those included that are not saved yet.
    """

    trial: optuna.Trial
    params: Params
    model: ModelSpec | OwnSpec
    training: TrainingSpec
    seed: int
    parameters: int
    size: float = 0
    history: list[EpochFigures] = field(default_factory=list)
    reported: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take over what the study has of the trial, as its handle loaded it.

        The handle's own values, so that a pruner that asks it sees what is reported here.
        """
        frozen = self.trial._cached_frozen_trial  # noqa: SLF001 - no public API
        self.reported = frozen.intermediate_values
        self.attributes = frozen.user_attrs

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

    What it records is written by ``save``, in one transaction; only beginning a trial writes at
    once. Nothing else writes to the study meanwhile, so the recorder caches what it has written:
    reading a study takes longer the more trials are paused.
    """

    def __init__(
        self,
        study: optuna.Study,
        workspace: Workspace,
        *,
        monitor: str,
        keep: int,
        audits: bool = False,
        attach: Attaching | None = None,
    ) -> None:
        """Record trials of ``study``. The best ``keep`` finished trials keep their checkpoints.

        With ``audits``, all do until ``tidy``. ``attach`` stores the files of ended trials; by
        default at once.
        """
        self._study = study
        self._storage = workspace.storage
        self._records = workspace.records
        self._layout = workspace.layout
        self._monitor = monitor
        self._keep = keep
        self._keeps_ended = keep > 0 or audits
        self._attach = attach or Attaching()
        self._writes: list[Write] = []
        self._after: list[Callable[[], None]] = []
        self._ids: dict[int, int] = {}  # Optuna's, by number
        self._waiting: deque[int] = deque()
        self._retries: set[int] = set()  # numbers of trials with an enqueued replacement
        self._count = 0  # number of trials in the study, when they were adopted and retried
        self._values: list[float] = []  # of the complete trials
        self._memory: Mapping[str, Any] | None = study.user_attrs.get(MEMORY)

    @property
    def unsaved(self) -> int:
        """Number of writes since the last ``save``."""
        return len(self._writes)

    def save(self) -> None:
        """Write what was recorded, all or nothing; then do what waits for it.

        Raises:
            StorageError: The database failed.
        """
        writes, after = self._writes, self._after
        self._writes, self._after = [], []
        if writes:
            self._storage.write(writes)
        for action in after:
            action()

    def once_saved(self, action: Callable[[], None]) -> None:
        """Do something after what is recorded so far was written, in order."""
        self._after.append(action)

    def adopt(self) -> list[FrozenTrial]:
        """Load the study's trials; returns those of ``counted``."""
        trials = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}  # noqa: SLF001 - no public API
        complete = (t for t in trials if t.state is TrialState.COMPLETE)
        self._values = [lowest(trial) for trial in complete]
        waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
        self._waiting = deque(trial.number for trial in waiting)
        for trial in trials:
            self._attach_missing(trial)
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
            study = self._study._study_id  # noqa: SLF001 - for the storage
            self._write(self._storage.set_study_user_attr, study, MEMORY, memory)

    @property
    def waiting(self) -> int:
        """Number of enqueued trials that have not begun."""
        return len(self._waiting)

    def take_waiting(self) -> optuna.Trial:
        """Begin the trial that was enqueued first."""
        self.save()
        trial = self._study.ask()
        self._ids[trial.number] = trial._trial_id  # noqa: SLF001 - no public API
        self._waiting.remove(trial.number)
        return trial

    def begin(self, params: Params, distributions: Mapping[str, BaseDistribution]) -> optuna.Trial:
        """Begin a trial of a configuration, with a single write so that it is never partial."""
        self.save()
        template = create_trial(
            state=TrialState.RUNNING, params=dict(params), distributions=dict(distributions)
        )
        storage, study = self._study._storage, self._study._study_id  # noqa: SLF001 - add_trial returns no number
        identity = storage.create_new_trial(study, template_trial=template)
        trial = optuna.Trial(self._study, identity)
        self._ids[trial.number] = identity
        return trial

    def handle(self, number: int) -> optuna.Trial:
        """A handle on an unfinished trial, with all that is recorded of it."""
        self.save()
        return optuna.Trial(self._study, self._ids[number])

    def refuse_duplicate(self, trial: optuna.Trial, first: int) -> None:
        """End a trial with the same configuration as trial ``first``."""
        self._set(trial, DUPLICATE, first)
        self._tell(trial, TrialState.FAIL)

    def refuse_unfit(self, trial: optuna.Trial, reason: str) -> None:
        """End a trial that is too large, as FAIL: samplers must not learn to avoid its like."""
        self._set(trial, REASON, reason)
        self._tell(trial, TrialState.FAIL)

    def paths(self, live: LiveTrial) -> RunFiles:
        """Paths of the trial's files."""
        return self._layout.run(self._study.study_name, live.run)

    def judged(self, figures: EpochFigures) -> float:
        """The figure that the study minimises."""
        return objective(figures, self._monitor)

    def note(self, live: LiveTrial, figures: EpochFigures) -> None:
        """Record an epoch, and report it to the study once, even if called again."""
        live.history.append(figures)
        name, run, row = self._study.study_name, live.run, figures.to_dict()
        self._write(lambda: self._records.record_epoch(name, run, row, self._storage.joined))
        if figures.epoch not in live.reported:
            identity, epoch, loss = self._ids[live.number], figures.epoch, self.judged(figures)
            self._write(self._storage.set_trial_intermediate_value, identity, epoch, loss)
            live.reported[epoch] = loss

    def decide_pruned(self, live: LiveTrial, pruner: str) -> None:
        """Store that the trial is pruned, and why.

        Saved before the decision takes effect, so that it survives the tuner's death.
        """
        figures = live.history[-1]
        reason = (
            f"pruned by {pruner} after epoch {figures.epoch} of {live.training.epochs}: "
            f"{objective_name(self._monitor)} {self.judged(figures):.4f}"
        )
        self._mark(live, PRUNED, reason)

    def decided(self, live: LiveTrial, decision: str) -> None:
        """Append a decision about the trial, with its reason."""
        before = live.attributes.get(DECISIONS, [])
        if decision not in before[-1:]:  # repeated if a tuner was killed in between
            self._mark(live, DECISIONS, [*before, decision])

    def unfit(self, live: LiveTrial, memory: int | None = None) -> None:
        """Mark the configuration as bad: it diverged, or ran out of ``memory`` bytes."""
        self._mark(live, UNFIT, value=True)
        if memory is not None:
            self._mark(live, MEMORY_HAD, memory)

    def learned(self, live: LiveTrial, size: NetworkSize) -> None:
        """Store what is known of a network's size once it is built."""
        for key, value in asdict(size).items():
            name = LATENCY if key == "latency" else key
            if value and live.attributes.get(name) != value:
                self._mark(live, name, value)

    def own_fault(self, live: LiveTrial) -> None:
        """Mark the trial as failed in the user's code, perhaps because of its configuration."""
        self._mark(live, OWN_FAULT, value=True)

    def set_by_user(self, live: LiveTrial, attributes: Mapping[str, Any]) -> None:
        """Store what the user's code has set on its trial.

        Names that treino uses itself get "own" before them.
        """
        for key, value in attributes.items():
            name = f"own {key}" if key in OF_TREINO else key
            if name not in live.attributes or live.attributes[name] != value:
                self._mark(live, name, value)

    def note_death(self, live: LiveTrial, epoch: int, times: int) -> None:
        """Store how often the trial's worker has died after the same epoch."""
        self._mark(live, DEATHS, {"after epoch": epoch, "times": times})

    def note_processor(self, live: LiveTrial, processor: str) -> None:
        """Store on which type of processor the trial trains from here: its results may differ."""
        before = live.attributes.get(PROCESSORS, [])
        if processor not in before[-1:]:
            self._mark(live, PROCESSORS, [*before, processor])

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
        for key, content in attributes.items():
            self._mark(live, key, content)
        value = None
        if state is TrialState.COMPLETE:
            losses = (self.judged(figures) for figures in live.history)
            value = min(filter(math.isfinite, losses))
            self._values.append(value)
        files = self.paths(live)
        attachments = Attachments.of(
            files,
            self._layout.artifacts,
            self._title(live.number),
            state.name.lower(),
            tuple(live.history),
            self._monitor,
            # Only if it is among the best when it ends, which becomes rare.
            with_model=value in sorted(self._values)[: self._keep],
        )
        identity = self._ids[live.number]
        for key, content in attachments.attributes().items():
            self._write(self._storage.set_trial_system_attr, identity, key, content)
        values = [] if value is None else [value, *([live.size] if live.size else [])]
        if state is TrialState.PRUNED and live.reported and not live.size:
            last = live.reported[max(live.reported)]  # its value, as Optuna has it
            values = [] if math.isnan(last) else [last]
        self._tell(live.trial, state, values)
        self.once_saved(lambda: self._attach(attachments))
        # Remove here what ``tidy`` would remove in any case, to save disk space.
        self.once_saved(lambda: files.remove_checkpoint(but_the_newest=self._keeps_ended))

    def _title(self, number: int) -> str:
        return f"{self._study.study_name}, trial {number}"

    def _attach_missing(self, trial: FrozenTrial) -> None:
        """Store the files of a trial that an earlier tuner registered and did not store."""
        run = run_name(trial.number)
        files = self._layout.run(self._study.study_name, run)
        copies = missing(trial, files, self._layout.artifacts) if trial.state.is_finished() else {}
        if copies:
            self._attach(
                Attachments(
                    files,
                    self._layout.artifacts,
                    copies,
                    self._title(trial.number),
                    trial.state.name.lower(),
                    tuple(history(self._records, self._study.study_name, run)),
                    self._monitor,
                )
            )

    def _mark(self, live: LiveTrial, key: str, value: Any) -> None:
        live.attributes[key] = value
        self._set(live.trial, key, value)

    def _set(self, trial: optuna.Trial, key: str, value: Any) -> None:
        self._write(self._storage.set_trial_user_attr, self._ids[trial.number], key, value)

    def _tell(self, trial: optuna.Trial, state: TrialState, values: Sequence[float] = ()) -> None:
        identity = self._ids[trial.number]
        self._write(self._storage.set_trial_state_values, identity, state, values or None)
        # As Optuna's ``tell`` does, which besides reads the trial twice.
        self._write(setattr, self._study._thread_local, "cached_all_trials", None)  # noqa: SLF001

    def _write(self, function: Callable[..., object], *arguments: object) -> None:
        self._writes.append(partial(function, *arguments))

    def tidy(self, spared: Collection[int] = ()) -> None:
        """Limit disk usage: remove checkpoints of finished trials that are not among the best.

        The trials with the numbers ``spared`` keep theirs, too.
        """
        finished = [t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()]
        for rank, trial in enumerate(sorted(finished, key=lowest)):
            files = self._layout.run(self._study.study_name, run_name(trial.number))
            files.remove_checkpoint(but_the_newest=rank < self._keep or trial.number in spared)
