"""What trackers show of a study: its trials with their epochs and files, as plain values."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from models.history import EpochFigures
from search.spaces.unit_cube import Params
from search.study.attributes import DUPLICATE, REASON
from search.study.trials import history, run_name
from search.study.workspace import Workspace


@dataclass(frozen=True)
class TrackedTrial:
    """A trial as trackers show it.

    Attributes:
        number: Its number in the study.
        params: Its configuration.
        state: ``running``, which includes paused, ``complete``, ``pruned`` or ``fail``.
        reason: Why it ended, unless it is complete; else empty.
        started: When it began.
        epochs: Its epochs so far, in order.
        files: Its artifacts by name: spec, curves and, of the best trials, the model.
    """

    number: int
    params: Params
    state: str
    reason: str
    started: datetime
    epochs: tuple[EpochFigures, ...]
    files: Mapping[str, Path]

    @property
    def run(self) -> str:
        """Name of its training."""
        return run_name(self.number)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state != "running"

    def times(self) -> list[float]:
        """Seconds since 1970 at which the epochs ended, as if the trial had never paused.

        They depend on nothing but the study, so that what is sent again is the same.
        """
        times, now = [], self.started.timestamp()
        for figures in self.epochs:
            now += figures.seconds
            times.append(now)
        return times


class Tracker(ABC):
    """A place that shows trials. Its record of a trial only grows, and has everything once."""

    @abstractmethod
    def send(self, trial: TrackedTrial) -> None:
        """Add what the tracker does not have of a trial. May be repeated after a failure.

        Raises:
            Exception: Any; the trial is sent again later.
        """


class Changes:
    """The trials of a study that have changed since a tracker received them."""

    def __init__(self, workspace: Workspace, study: optuna.Study) -> None:
        self._workspace = workspace
        self._study = study
        self._sent: dict[int, tuple[int, TrialState, int]] = {}

    def send_to(self, tracker: Tracker) -> None:
        """Send the changed trials one after the other.

        Raises:
            Exception: The tracker's own. The next call begins with the trial that failed.
        """
        epochs = self._workspace.records.count_epochs(self._study.study_name)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state is TrialState.WAITING or DUPLICATE in trial.user_attrs:
                continue
            count = epochs.get(run_name(trial.number), 0)
            state = (count, trial.state, len(trial.system_attrs))
            if self._sent.get(trial.number) != state:
                tracked, whole = self._read(trial)
                tracker.send(tracked)
                if whole:
                    self._sent[trial.number] = state

    def _read(self, trial: FrozenTrial) -> tuple[TrackedTrial, bool]:
        """A trial, and whether all its files are there: Optuna records them before."""
        folder = self._workspace.layout.artifacts
        artifacts = get_all_artifact_meta(trial, storage=self._workspace.storage)
        files = {meta.filename: folder / meta.artifact_id for meta in artifacts}
        there = {name: path for name, path in files.items() if path.is_file()}
        assert trial.datetime_start is not None  # it is not waiting
        tracked = TrackedTrial(
            number=trial.number,
            params=trial.params,
            state=trial.state.name.lower(),
            reason=str(trial.user_attrs.get(REASON, "")),
            started=trial.datetime_start,
            epochs=tuple(
                history(self._workspace.records, self._study.study_name, run_name(trial.number))
            ),
            files=there,
        )
        return tracked, len(there) == len(files)
