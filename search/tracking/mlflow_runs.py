"""Runs in MLflow: an experiment per study and a run per trial.

A run is found again by its tags, and MLflow says which epochs and files it has. So it is continued
wherever an earlier tracker ended, and nothing is logged twice.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from models.history import REPORTED
from search.tracking.tracked import TrackedTrial, Tracker

# Statuses of MLflow. It has none for a trial that was pruned.
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}
_EPOCHS_AT_ONCE = 1000 // len(REPORTED)  # MLflow accepts 1,000 values in a request
_MARK = "val_loss"  # figure by which it is asked for the epochs that it has


@dataclass
class _Run:
    """A run in MLflow.

    Attributes:
        id: Its identity there.
        epoch: Number of the last epoch that it has.
        files: Names of the files that it has.
        state: The trial's state that it shows.
    """

    id: str
    epoch: int = 0
    files: set[str] = field(default_factory=set)
    state: str = ""


class MlflowRuns(Tracker):
    """The experiment of a study."""

    def __init__(self, uri: str, study: str, artifacts: Path | None) -> None:
        """Show the trials of ``study`` on a server or in a database.

        Args:
            uri: MLflow's tracking URI.
            study: Name of the study, which becomes the experiment's.
            artifacts: Folder of the files of a new experiment; None to leave them to the server.

        Raises:
            MlflowException: MLflow cannot be reached, or the experiment was deleted there.
        """
        self._client = MlflowClient(tracking_uri=uri)
        self._study = study
        self._runs: dict[int, _Run] = {}
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None:
            place = None if artifacts is None else artifacts.resolve().as_uri()
            self._experiment = self._client.create_experiment(study, artifact_location=place)
        elif experiment.lifecycle_stage != "active":
            raise MlflowException(f"experiment {study!r} is deleted there: restore it, or purge it")
        else:
            self._experiment = experiment.experiment_id

    def send(self, trial: TrackedTrial) -> None:
        """Log what the trial's run lacks, and end the run if the trial is over."""
        run = self._runs.get(trial.number) or self._run_of(trial)
        self._log_epochs(run, trial)
        self._log_files(run, trial)
        if run.state != trial.state:
            tags = {"treino.state": trial.state, "treino.reason": trial.reason}
            self._client.log_batch(run.id, tags=[RunTag(*tag) for tag in tags.items() if tag[1]])
            if trial.over:
                start, ends = trial.started.timestamp(), trial.times()
                self._client.set_terminated(
                    run.id, _STATUS[trial.state], int(1000 * (ends[-1] if ends else start))
                )
            run.state = trial.state
        self._runs[trial.number] = run

    def _run_of(self, trial: TrackedTrial) -> _Run:
        """The trial's run, as MLflow has it; a new one if it has none."""
        # The start distinguishes trials of a deleted study from those of a new one with its name.
        tags = {"treino.trial": str(trial.number), "treino.started": trial.started.isoformat()}
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = self._client.search_runs([self._experiment], wanted, max_results=1)
        if not runs:
            made = self._client.create_run(
                self._experiment,
                start_time=int(1000 * trial.started.timestamp()),
                run_name=f"trial {trial.number}",
                tags={"treino.study": self._study, "mlflow.source.name": "treino", **tags},
            )
            run = _Run(made.info.run_id)
        else:
            identity = runs[0].info.run_id
            epochs = [metric.step for metric in self._client.get_metric_history(identity, _MARK)]
            files = {file.path for file in self._client.list_artifacts(identity)}
            run = _Run(identity, max(epochs, default=0), files)
        # Again for a run that is there: its tracker may have died in between.
        params = [Param(name, str(value)) for name, value in trial.params.items()]
        self._client.log_batch(run.id, params=params)
        return run

    def _log_epochs(self, run: _Run, trial: TrackedTrial) -> None:
        pairs = zip(trial.epochs, trial.times(), strict=True)
        new = [(figures, at) for figures, at in pairs if figures.epoch > run.epoch]
        for start in range(0, len(new), _EPOCHS_AT_ONCE):
            some = new[start : start + _EPOCHS_AT_ONCE]
            metrics = [
                Metric(name, value, int(1000 * at), figures.epoch)
                for figures, at in some
                for name, value in figures.measured().items()
            ]
            self._client.log_batch(run.id, metrics=metrics)
            run.epoch = some[-1][0].epoch

    def _log_files(self, run: _Run, trial: TrackedTrial) -> None:
        for name, path in trial.files.items():
            if name not in run.files:
                with tempfile.TemporaryDirectory() as folder:  # MLflow takes the name of the file
                    link = Path(folder, name)
                    link.symlink_to(path.resolve())
                    self._client.log_artifact(run.id, str(link))
                run.files.add(name)
