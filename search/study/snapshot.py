"""A study as it stands at one moment: what a report or a note is made from. Only reads."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.scheduling.asha import rungs
from search.study.attributes import DECISIONS, REASON
from search.study.evaluation_record import EvaluationRecord, read, test_images
from search.study.names import BASELINES
from search.study.trials import counted, run_name, seen
from search.study.workspace import Workspace, is_of_cifar10, space_of
from storage import study as studies
from storage.lease import is_held
from storage.tables import EpochRow, ModelRow

ShownState = Literal["complete", "running", "paused", "pruned", "failed"]
STATES: tuple[ShownState, ...] = ("complete", "running", "paused", "pruned", "failed")


@dataclass(frozen=True)
class TrialView:
    """A trial that was begun.

    Attributes:
        number: Its number in the study.
        state: What has become of it.
        params: Its configuration.
        distributions: The range of each parameter.
        history: Its epochs.
        monitor: The figure that is minimised.
        reason: Why it ended early or failed; empty if it did not.
        decisions: What was decided about it on the way.
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
        """The figure that is minimised."""
        return float(getattr(figures, self.monitor))

    @cached_property
    def best(self) -> EpochRow | None:
        """The epoch with the lowest such figure; None while none is finite."""
        finite = [figures for figures in self.history if math.isfinite(self.judged(figures))]
        return min(finite, key=self.judged, default=None)

    @property
    def value(self) -> float:
        """That lowest figure; infinite while there is none, and where the trial failed."""
        if self.best is None or self.state == "failed":
            return math.inf
        return self.judged(self.best)

    @property
    def name(self) -> str:
        """What it is and what became of it, in a line."""
        text = f"trial {self.number}, {self.state}"
        if self.best is not None:
            text += (
                f": {self.monitor} {self.judged(self.best):.4f}, accuracy "
                f"{self.best.val_accuracy:.4f} at epoch {self.best.epoch} of {len(self.history)}"
            )
        return text

    @property
    def story(self) -> str:
        """`name`, and below it why."""
        return "\n".join((self.name, *self.decisions, *filter(None, [self.reason])))


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        study: Its name.
        moment: When it was looked at.
        searching: Whether a tuner was at work on it.
        made_with: What makes its trials comparable.
        made_by: How it was searched, once for each time that was different: settings, versions.
        trials: Those that were begun, duplicates left out, in order.
        order: Trial number and epoch of every epoch, in the order they were trained.
        documented: The documents' run 10 as a configuration of its space, if it is one.
        cifar10: Whether the documents' figures belong beside the study's.
        retrained: The model that was handed over last, if there is one.
        retraining: Its epochs.
        tested: How it did on the test images, if that was kept.
        baseline: The documents' run 10, trained here on the same images, if it was.
        baseline_images: On how many images it was tested, if that was kept.
    """

    study: str
    moment: datetime
    searching: bool
    made_with: Mapping[str, str]
    made_by: Sequence[Mapping[str, str]]
    trials: tuple[TrialView, ...]
    order: Sequence[tuple[int, int]]
    documented: Mapping[str, Any] | None
    cifar10: bool
    retrained: ModelRow | None
    retraining: Sequence[EpochRow]
    tested: EvaluationRecord | None
    baseline: ModelRow | None
    baseline_images: int | None

    @property
    def monitor(self) -> str:
        """The figure that is minimised."""
        return self.made_with["monitor"]

    @property
    def epochs(self) -> int:
        """The most epochs a trial trains."""
        return int(self.made_with["epochs"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(json.loads(self.made_by[0]["classes"]))

    @cached_property
    def best(self) -> TrialView | None:
        """The trial with the lowest figure at any of its epochs; None while there is none."""
        best = min(self.trials, key=lambda trial: trial.value, default=None)
        return best if best is not None and math.isfinite(best.value) else None

    @cached_property
    def spent(self) -> int:
        """Epochs trained in all."""
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


def look(place: Workspace, study: optuna.Study, *, searching: bool | None = None) -> Snapshot:
    """Look at a study, without changing it.

    Args:
        place: Where it lies.
        study: The study.
        searching: Whether a tuner is at work on it; None to find out.

    Raises:
        StorageError: The database does not answer.
    """
    name, attributes = study.study_name, study.user_attrs
    with_: Mapping[str, str] = attributes[studies.MADE_WITH]
    by = [attributes[studies.MADE_BY], *attributes.get(studies.CONTINUED_BY, [])]
    if searching is None:
        searching = is_held(place.storage.engine, name)
    epochs = place.records.epochs_of_study(name)
    steps = rungs(int(with_["epochs"]))
    models = place.records.models()
    # Of several the one that was handed over; the last one if that cannot be told any more.
    retrains = [m for m in reversed(models) if m.study == name and m.kind == "retrain"]
    handed_over = (model for model in retrains if _tested(place, model) is not None)
    retrained = next(handed_over, retrains[0] if retrains else None)
    baselines = [m for m in models if m.study == BASELINES and m.run.startswith("run-10-")]
    fingerprint = with_["data"].rpartition(" ")[2]
    baseline = next((m for m in reversed(baselines) if m.fingerprint == fingerprint), None)
    return Snapshot(
        study=name,
        moment=datetime.now(timezone.utc),
        searching=searching,
        made_with=with_,
        made_by=by,
        trials=tuple(
            TrialView(
                number=trial.number,
                state=_state(trial, steps, searching=searching),
                params=trial.params,
                distributions=trial.distributions,
                history=tuple(epochs.get(run_name(trial.number), ())),
                monitor=with_["monitor"],
                reason=str(trial.user_attrs.get(REASON, "")),
                decisions=tuple(trial.user_attrs.get(DECISIONS, ())),
            )
            for trial in counted(study.get_trials(deepcopy=False))
        ),
        order=studies.reports(place.storage, name),
        documented=space_of(study).of_documented_run(),
        cifar10=is_of_cifar10(study),
        retrained=retrained,
        retraining=() if retrained is None else place.records.epochs(name, retrained.run),
        tested=None if retrained is None else _tested(place, retrained),
        baseline=baseline,
        baseline_images=None if baseline is None else test_images(place.layout, baseline),
    )


def _state(trial: FrozenTrial, steps: Sequence[int], *, searching: bool) -> ShownState:
    if trial.state is TrialState.COMPLETE:
        return "complete"
    if trial.state is TrialState.PRUNED:
        return "pruned"
    if trial.state is TrialState.FAIL:
        return "failed"
    # Without a tuner nothing runs; with one, what stands at a rung waits there.
    return "running" if searching and seen(trial, steps).state == "running" else "paused"


def _tested(place: Workspace, model: ModelRow) -> EvaluationRecord | None:
    """What was kept of the model's test, if it is the one that was handed over."""
    return read(place.layout.best(model.study), model.test_accuracy)
