"""What the study and our tables hold of a trial: read it, write it, end it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import FrozenTrial, TrialState

from models.history import EpochFigures, best_epoch
from models.spec import ModelSpec, TrainingSpec
from search import plots
from storage.engine import StorageError
from storage.files import Layout, RunFiles
from storage.tables import Records

# Names of what a trial carries in the study, where the dashboard shows it.
REASON = "reason"
PRUNED = "pruned"
DUPLICATE = "duplicate of trial"
DEATHS = "worker deaths"


@dataclass
class LiveTrial:
    """An unfinished trial of the study, with what it stands for.

    Attributes:
        trial: Optuna's handle.
        model: Its network.
        training: How the network is trained.
        seed: The training's seed.
        parameters: Number of weights.
        history: Its epochs so far.
    """

    trial: optuna.Trial
    model: ModelSpec
    training: TrainingSpec
    seed: int
    parameters: int
    history: list[EpochFigures] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.trial.number

    @property
    def run(self) -> str:
        """What its training is called in our tables and folders."""
        return run_name(self.number)


class TrialBook:
    """Writes trials down, in the study and in our own tables; the tuner alone has one."""

    def __init__(
        self, study: optuna.Study, records: Records, layout: Layout, *, monitor: str, keep: int
    ) -> None:
        """Write about ``study``; the best ``keep`` finished trials keep their checkpoints."""
        self._study = study
        self._records = records
        self._layout = layout
        self._monitor = monitor
        self._keep = keep

    def paths(self, live: LiveTrial) -> RunFiles:
        """Where the trial's files are."""
        return self._layout.run(self._study.study_name, live.run)

    def judged(self, figures: EpochFigures) -> float:
        """The figure that the study judges by."""
        return float(getattr(figures, self._monitor))

    def frozen(self, live: LiveTrial) -> FrozenTrial:
        """The trial as the study now has it."""
        return self._study.get_trials(deepcopy=False)[live.number]

    def note(self, live: LiveTrial, figures: EpochFigures) -> None:
        """Record and report an epoch, once, however often it is told."""
        live.history.append(figures)
        self._records.record_epoch(self._study.study_name, live.run, figures.to_dict())
        if figures.epoch not in self.frozen(live).intermediate_values:
            live.trial.report(self.judged(figures), figures.epoch)

    def decide_pruned(self, live: LiveTrial, pruner: str) -> None:
        """Write down that the trial is pruned, and why.

        Before it is acted on: a decision outlives the tuner that made it.
        """
        figures = live.history[-1]
        live.trial.set_user_attr(
            PRUNED,
            f"pruned by {pruner} after epoch {figures.epoch} of {live.training.epochs}: "
            f"{self._monitor} {self.judged(figures):.4f}",
        )

    def count_death(self, live: LiveTrial) -> int:
        """Note that the trial's worker died; returns how often it did after this same epoch.

        A trial that gets on between two deaths is not what kills its workers.
        """
        epoch = len(live.history)
        before = self.frozen(live).user_attrs.get(DEATHS, {})
        deaths = int(before.get("times", 0)) + 1 if before.get("after epoch") == epoch else 1
        live.trial.set_user_attr(DEATHS, {"after epoch": epoch, "times": deaths})
        return deaths

    def recall(self, live: LiveTrial) -> None:
        """Give the trial the history that our tables have of it."""
        live.history = history(self._records, self._study.study_name, live.run)

    def end(self, live: LiveTrial, state: TrialState, reason: str = "") -> None:
        """End the trial in the study, with what people want to know of it."""
        best = best_epoch(live.history)
        attributes: dict[str, Any] = {
            "parameters": live.parameters,
            "epochs": len(live.history),
            "seconds": round(sum(figures.seconds for figures in live.history), 1),
        }
        if best is not None:
            attributes |= {"best epoch": best.epoch, "val_accuracy": round(best.val_accuracy, 4)}
        if reason:
            attributes[REASON] = reason
        for key, value in attributes.items():
            live.trial.set_user_attr(key, value)
        self._upload(live, state)
        value = None
        if state is TrialState.COMPLETE:
            judged = (self.judged(figures) for figures in live.history)
            value = min(figure for figure in judged if math.isfinite(figure))
        self._study.tell(live.trial, value, state=state)
        self._remove_checkpoints()

    def _upload(self, live: LiveTrial, state: TrialState) -> None:
        """Keep the trial's spec and the picture of its curves where the dashboard shows them."""
        paths = self.paths(live)
        self._layout.artifacts.mkdir(parents=True, exist_ok=True)
        store = FileSystemArtifactStore(self._layout.artifacts)
        files = [paths.spec]
        if live.history:
            title = f"{self._study.study_name}, trial {live.number}"
            plots.draw_curves(live.history, paths.curves, title, subtitle=state.name.lower())
            files.append(paths.curves)
        try:
            for file in files:
                upload_artifact(
                    artifact_store=store,
                    file_path=str(file),
                    study_or_trial=live.trial,
                    storage=self._study._storage,  # noqa: SLF001 - the one that the study uses
                )
        except OSError as error:
            raise StorageError(
                f"cannot keep artifacts in {self._layout.artifacts}: {error.strerror or error}"
            ) from error

    def _remove_checkpoints(self) -> None:
        """Bound the space: only the best finished trials, and the unfinished, keep theirs."""
        finished = [t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()]
        for rank, trial in enumerate(sorted(finished, key=_value)):
            files = self._layout.run(self._study.study_name, run_name(trial.number))
            files.remove_checkpoint(but_the_newest=rank < self._keep)


def history(records: Records, study: str, run: str) -> list[EpochFigures]:
    """The figures that our tables have of a training."""
    return [EpochFigures(**asdict(row)) for row in records.epochs(study, run)]


def run_name(number: int) -> str:
    """What a trial's training is called in our tables and folders."""
    return f"trial-{number:05d}"


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the study's total: begun, and no duplicate."""
    return trial.state is not TrialState.WAITING and DUPLICATE not in trial.user_attrs


def states(study: optuna.Study) -> Mapping[str, int]:
    """How many trials are in each state; RUNNING reads ``paused``: no tuner is at work on them."""
    return Counter(
        "paused" if trial.state is TrialState.RUNNING else trial.state.name.lower()
        for trial in study.get_trials(deepcopy=False)
        if counts(trial)
    )


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The completed trial with the lowest value; None while there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min(complete, key=_value, default=None)


def best_so_far(study: optuna.Study) -> str:
    """The best trial in a few words; empty while there is none."""
    best = best_trial(study)
    return "" if best is None else f"best: {best.value:.4f}, trial {best.number}"


def _value(trial: FrozenTrial) -> float:
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return math.inf
