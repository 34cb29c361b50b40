"""Read-only snapshot of a study, the source of reports and notes."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from data.dataset import DataError, Dataset
from models.documented import DOCUMENTED
from models.history import objective, objective_name, told_objective
from search.scheduling.prior import judged_in
from search.scheduling.rungs import rungs
from search.study.attributes import DECISIONS, MEMORY, REASON
from search.study.ensemble_record import EnsembleRecord, read_ensemble
from search.study.evaluation_record import EvaluationRecord, read, test_images
from search.study.fold_record import Folded, folded_trials
from search.study.names import BASELINES
from search.study.opening import Opening, openings_of
from search.study.recipe import StudyRecipe, recipe_of
from search.study.retraining_record import RetrainingRecord, read_retraining
from search.study.study_front import StudyFront, front_of
from search.study.trials import counted, observed, run_name
from search.study.workspace import Workspace, space_of
from storage import study as studies
from storage.errors import StorageError
from storage.lease import is_held
from storage.tables import EpochRow, ModelRow

ShownState = Literal["complete", "running", "paused", "pruned", "failed"]
STATES: tuple[ShownState, ...] = ("complete", "running", "paused", "pruned", "failed")


@dataclass(frozen=True)
class TrialView:
    """A trial that has begun.

    Attributes:
        number: Number in the study.
        state: Current state.
        params: Configuration.
        distributions: Range of each parameter.
        history: Epochs.
        monitor: The figure that the study selects by.
        reason: Why it ended early or failed; empty if it did not.
        decisions: Decisions about it, in order.
    """

    number: int
    state: ShownState
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    history: tuple[EpochRow, ...]
    monitor: str
    reason: str
    decisions: tuple[str, ...]

    def judged(self, figures: EpochRow) -> float:
        """What the study minimises."""
        return objective(figures, self.monitor)

    @cached_property
    def best(self) -> EpochRow | None:
        """The epoch with the lowest such figure; None if none is finite."""
        finite = [figures for figures in self.history if math.isfinite(self.judged(figures))]
        return min(finite, key=self.judged, default=None)

    @property
    def value(self) -> float:
        """The lowest such figure; infinite if there is none or the trial failed."""
        if self.best is None or self.state == "failed":
            return math.inf
        return self.judged(self.best)

    @property
    def told(self) -> str:
        """The monitored figure at the best epoch; empty if there is none."""
        if self.best is None:
            return ""
        return told_objective(self.judged(self.best), self.monitor, name=False)

    @property
    def name(self) -> str:
        """Number, state and best epoch in one line."""
        text = f"trial {self.number}, {self.state}"
        if self.best is not None:
            text += (
                f": {told_objective(self.judged(self.best), self.monitor)}, accuracy "
                f"{self.best.val_accuracy:.4f} at epoch {self.best.epoch} of {len(self.history)}"
            )
        return text

    @property
    def reasons(self) -> tuple[str, ...]:
        """Decisions, and the reason if there is one."""
        return (*self.decisions, self.reason) if self.reason else self.decisions

    @property
    def story(self) -> str:
        """`name`, with `reasons` on the lines below."""
        return "\n".join((self.name, *self.reasons))


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        study: Name of the study.
        moment: Time of the snapshot.
        searching: Whether a search was running.
        recipe: What the trials have in common.
        openings: Settings and versions of the searches, one entry for each change.
        trials: Trials that have begun, without duplicates, in order.
        trusted: How far each source of recorded curves is trusted by now, by its name; empty
            before the study has losses to judge by.
        order: Trial number and epoch of every epoch, in the order they were trained.
        documented: The documents' run 10 as a configuration of the space, if it contains run 10.
        retrained: The model that was delivered last, if any.
        retrained_file: Where that model is; empty if there is none.
        retraining: Epochs of that model.
        tested: Test results of that model, if stored.
        ensemble: The ensemble beside the best single model, if that model was one of the two.
        baseline: The documents' run 10 trained here on the same images, if any: of several the one
            with the most epochs.
        baseline_images: Number of images the baseline was tested on, if stored.
        folds: Trials trained on several splits of the images, best mean first.
        retraining_record: How the delivered model was retrained, if stored.
        validation_images: Number of validation images; None if the decoded images are gone.
        front: The front of a study of two objectives; None for one objective.
    """

    study: str
    moment: datetime
    searching: bool
    recipe: StudyRecipe
    openings: Sequence[Opening]
    trials: tuple[TrialView, ...]
    trusted: Mapping[str, float]
    order: Sequence[tuple[int, int]]
    documented: Mapping[str, Any] | None
    retrained: ModelRow | None
    retraining: Sequence[EpochRow]
    tested: EvaluationRecord | None
    ensemble: EnsembleRecord | None
    baseline: ModelRow | None
    baseline_images: int | None
    folds: Sequence[Folded] = ()
    retraining_record: RetrainingRecord | None = None
    validation_images: int | None = None
    front: StudyFront | None = None
    retrained_file: str = ""

    @property
    def objective(self) -> str:
        """Name of what the study minimises."""
        return objective_name(self.recipe.monitor)

    @property
    def epochs(self) -> int:
        """Maximum number of epochs per trial."""
        return self.recipe.training.epochs

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.recipe.images.classes

    @property
    def cifar10(self) -> bool:
        """Whether the documents' figures are comparable with the study's."""
        return self.recipe.images.of_cifar10

    @property
    def baseline_epochs(self) -> int | None:
        """The maximum number of epochs of the baseline, if it is less than the documents'."""
        if self.baseline is None:
            return None
        epochs = _most_epochs(self.baseline)
        return epochs if epochs < DOCUMENTED["run-10"].training.epochs else None

    @property
    def retrained_trials(self) -> tuple[int, ...]:
        """Numbers of the trials that the delivered model comes from, or was selected from."""
        if self.retrained is None:
            return ()
        if self.retrained.kind == "ensemble":
            return tuple(json.loads(self.retrained.spec)["ensemble"]["trials"])
        return () if self.retrained.trial is None else (self.retrained.trial,)

    @cached_property
    def best(self) -> TrialView | None:
        """The trial with the lowest figure at any of its epochs; None if there is none."""
        best = min(self.trials, key=lambda trial: trial.value, default=None)
        return best if best is not None and math.isfinite(best.value) else None

    @cached_property
    def spent(self) -> int:
        """Total number of epochs trained."""
        return sum(len(trial.history) for trial in self.trials)

    def of_state(self, state: ShownState) -> list[TrialView]:
        """The trials in that state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def counted(self) -> str:
        """10 trials: 6 complete, 3 pruned, 1 failed."""
        parts = [f"{len(of)} {state}" for state in STATES if (of := self.of_state(state))]
        total = f"{len(self.trials)} trial{'' if len(self.trials) == 1 else 's'}"
        return f"{total}: {', '.join(parts)}" if parts else total


def look(workspace: Workspace, study: optuna.Study, *, searching: bool | None = None) -> Snapshot:
    """Take a snapshot of a study, without changing it.

    Args:
        workspace: Database, tables and files.
        study: The study.
        searching: Whether a search is running; None to find out.

    Raises:
        StorageError: The database does not answer.
    """
    name, recipe = study.study_name, recipe_of(study)
    if searching is None:
        searching = is_held(workspace.storage.engine, name)
    epochs = workspace.records.epochs_of_study(name)
    openings = openings_of(study)
    pausing = openings[-1].settings.get("pruner", "promote") == "promote"
    steps = rungs(recipe.training.epochs) if pausing else ()
    models = workspace.records.models()
    # Of several models the delivered one, or the last one if the delivered one is unknown.
    kinds = ("retrain", "ensemble")
    retrains = [m for m in reversed(models) if m.study == name and m.kind in kinds]
    delivered = [model for model in retrains if _tested(workspace, model) is not None]
    # Several may have the same accuracy; the spec tells them apart.
    spec = _spec(workspace, name)
    exact = [model for model in delivered if model.spec == spec]
    retrained = next(iter([*exact, *delivered, *retrains]), None)
    baselines = [m for m in models if m.study == BASELINES and m.run.startswith("run-10-")]
    images = recipe.images.fingerprint
    of_these = [model for model in reversed(baselines) if model.fingerprint == images]
    baseline = max(of_these, key=_most_epochs, default=None)
    return Snapshot(
        study=name,
        moment=datetime.now(timezone.utc),
        searching=searching,
        recipe=recipe,
        openings=openings,
        trials=tuple(
            TrialView(
                number=trial.number,
                state=_state(trial, steps, searching=searching),
                params=trial.params,
                distributions=trial.distributions,
                history=tuple(epochs.get(run_name(trial.number), ())),
                monitor=recipe.monitor,
                reason=str(trial.user_attrs.get(REASON, "")),
                decisions=tuple(trial.user_attrs.get(DECISIONS, ())),
            )
            for trial in counted(study.get_trials(deepcopy=False))
        ),
        trusted=judged_in(study.user_attrs.get(MEMORY) or {}),
        order=studies.reports(workspace.storage, name),
        documented=space_of(study).of_documented_run(),
        retrained=retrained,
        retraining=() if retrained is None else workspace.records.epochs(name, retrained.run),
        tested=None if retrained is None else _tested(workspace, retrained),
        ensemble=None if retrained is None else _ensemble(workspace, retrained),
        baseline=baseline,
        baseline_images=None if baseline is None else test_images(workspace.layout, baseline),
        folds=folded_trials([model for model in models if model.study == name], recipe.monitor),
        validation_images=_validation_images(openings),
        front=front_of(study),
        retrained_file=_file_of(workspace, retrained, delivered=retrained in delivered),
        retraining_record=read_retraining(workspace.layout.best(name)) if exact else None,
    )


def _state(trial: FrozenTrial, steps: Sequence[int], *, searching: bool) -> ShownState:
    if trial.state is TrialState.COMPLETE:
        return "complete"
    if trial.state is TrialState.PRUNED:
        return "pruned"
    if trial.state is TrialState.FAIL:
        return "failed"
    # Without a search no trial runs. During a search, a trial at a rung is paused.
    return "running" if searching and observed(trial, steps).state == "running" else "paused"


def _most_epochs(model: ModelRow) -> int:
    """The maximum number of epochs of a trained model; early stopping may have ended it before."""
    return int(json.loads(model.spec)["training"]["epochs"])


def _spec(workspace: Workspace, study: str) -> str | None:
    """The spec of the delivered model; None if there is none."""
    try:
        return workspace.layout.best(study).spec.read_text(encoding="utf-8")
    except (OSError, StorageError, ValueError):
        return None


def _file_of(workspace: Workspace, model: ModelRow | None, *, delivered: bool) -> str:
    if model is None:
        return ""
    return str(workspace.layout.best(model.study).model) if delivered else model.path


def _validation_images(openings: Sequence[Opening]) -> int | None:
    for opening in reversed(openings):
        with suppress(DataError):
            return len(Dataset.open(Path(opening.decoded)).validation.labels)
    return None


def _ensemble(workspace: Workspace, model: ModelRow) -> EnsembleRecord | None:
    """What the delivered model was chosen from, if that was an ensemble or a single model."""
    record = read_ensemble(workspace.layout.best(model.study))
    return record if record is not None and record.delivered.run == model.run else None


def _tested(workspace: Workspace, model: ModelRow) -> EvaluationRecord | None:
    """Stored test results of the model, if it is the delivered one."""
    return read(workspace.layout.best(model.study), model.test_accuracy)
