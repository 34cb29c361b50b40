"""Trackers: what TensorBoard and MLflow read of a study, and what a tracker cannot break."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from search.errors import TreinoError
from search.settings import Settings
from search.study.trials import history, run_name
from search.study.workspace import Workspace
from search.tracking.event_files import FILE, EventFiles
from search.tracking.observer import Tracking
from search.tracking.tracked import Changes
from tests.support import studies
from tests.support.commands import FINISHED, finished_search
from tests.support.studies import COMPLETE, FAIL, PRUNED, RUNNING
from tests.support.trackers import curves_of

STATES = (COMPLETE, RUNNING, PRUNED, FAIL)
PAUSED = 1  # number of the running one


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as opened:
        yield opened


@pytest.fixture
def study(place: Workspace) -> optuna.Study:
    """Four trials, the paused one with a file."""
    made, space = studies.begin(place, "birds")
    studies.add(place, made, space, STATES)
    Path("spec.json").write_text("{}")
    place.layout.artifacts.mkdir(parents=True)
    upload_artifact(
        artifact_store=FileSystemArtifactStore(place.layout.artifacts),
        file_path="spec.json",
        study_or_trial=made.get_trials()[PAUSED],
        storage=place.storage,
    )
    return made


def train_on(place: Workspace, study: optuna.Study) -> None:
    """Two more epochs of the paused trial, and its end."""
    handle = optuna.Trial(study, study.get_trials()[PAUSED]._trial_id)
    *_, last = epochs = history(place.records, "birds", run_name(PAUSED))
    for epoch in (len(epochs) + 1, len(epochs) + 2):
        place.records.record_epoch(
            "birds", run_name(PAUSED), replace(last, epoch=epoch, val_loss=1 / epoch).to_dict()
        )
        handle.report(1 / epoch, epoch)
    study.tell(handle, 0.1, state=TrialState.COMPLETE)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def curves_in(events: EventAccumulator) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_reads_every_epoch_and_the_hyperparameters(
    place: Workspace, study: optuna.Study, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    Changes(place, study).send_to(EventFiles(folder))
    for trial in study.get_trials():
        events = read(folder / run_name(trial.number))
        assert curves_in(events) == curves_of(place, "birds", trial.number)
        held = {tag: data.plugin_data.content for tag, data in events.summary_metadata.items()}
        start = metadata.parse_session_start_info_plugin_data(held[metadata.SESSION_START_INFO_TAG])
        shown = {name: value.number_value for name, value in start.hparams.items()}
        numbers = {n: v for n, v in trial.params.items() if type(v) in (int, float)}
        assert numbers.items() <= shown.items()
        assert shown.keys() == trial.params.keys()
        if trial.state is RUNNING:
            assert metadata.SESSION_END_INFO_TAG not in held
        else:
            end = metadata.parse_session_end_info_plugin_data(held[metadata.SESSION_END_INFO_TAG])
            failed = trial.state is FAIL
            assert end.status == (api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS)


def test_event_files_are_continued_and_have_everything_once(
    place: Workspace, study: optuna.Study, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    Changes(place, study).send_to(EventFiles(folder))
    files = {number: folder / run_name(number) / FILE for number in range(len(STATES))}
    before = {number: file.read_bytes() for number, file in files.items()}
    files[0].write_bytes(before[0][:-3])  # its tracker was killed while it wrote
    watching = read(folder / run_name(PAUSED))  # as TensorBoard does all the time

    train_on(place, study)
    Changes(place, study).send_to(EventFiles(folder))
    assert curves_in(watching.Reload()) == curves_of(place, "birds", PAUSED)
    assert curves_in(read(folder / run_name(PAUSED))) == curves_of(place, "birds", PAUSED)
    del before[PAUSED]
    assert {number: files[number].read_bytes() for number in before} == before


def test_only_what_has_changed_is_sent_and_what_failed_is_sent_again(
    place: Workspace, study: optuna.Study
) -> None:
    changes, sent = Changes(place, study), []

    class Failing(EventFiles):
        def __init__(self) -> None:
            self.works = False

        def send(self, trial: Any) -> None:
            if trial.number == PAUSED and not self.works:
                raise ConnectionError
            sent.append((trial.number, trial.state, len(trial.epochs), list(trial.files)))

    tracker = Failing()
    with pytest.raises(ConnectionError):
        changes.send_to(tracker)
    tracker.works = True
    changes.send_to(tracker)
    changes.send_to(tracker)
    assert [number for number, *_ in sent] == [0, 1, 2, 3]
    assert sent[0] == (0, "complete", 20, [])
    train_on(place, study)
    changes.send_to(tracker)
    assert sent[4:] == [(PAUSED, "complete", sent[PAUSED][2] + 2, ["spec.json"])]


@pytest.mark.slow("imports MLflow and makes its database")
@pytest.mark.filterwarnings("ignore")  # about what MLflow uses of SQLAlchemy
def test_mlflow_reads_every_epoch_once_from_however_many_trackers(
    place: Workspace, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    from search.tracking.mlflow_runs import MlflowRuns

    uri = f"sqlite:///{place.layout.mlflow_database}"

    def sent() -> dict[int, Any]:
        """Runs of MLflow by trial, after a new tracker has sent what it finds."""
        Changes(place, study).send_to(MlflowRuns(uri, "birds", place.layout.mlflow("birds")))
        experiment = client.get_experiment_by_name("birds")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert len(runs) == len(STATES)
        return {int(run.data.tags["treino.trial"]): run for run in runs}

    client = MlflowClient(uri)
    runs = sent()
    assert [runs[number].info.status for number in range(len(STATES))] == [
        *("FINISHED", "RUNNING", "KILLED", "FAILED")
    ]
    assert runs[2].data.tags["treino.reason"].startswith("pruned by median")
    train_on(place, study)
    runs = sent()
    assert runs[PAUSED].info.status == "FINISHED"
    for trial in study.get_trials():
        run = runs[trial.number]
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        for name, curve in curves_of(place, "birds", trial.number).items():
            points = client.get_metric_history(run.info.run_id, name)
            assert [(point.step, point.value) for point in points] == curve
    assert [file.path for file in client.list_artifacts(runs[PAUSED].info.run_id)] == ["spec.json"]


@pytest.mark.slow("starts a process for each of two trackers")
def test_a_search_sends_what_it_finds_and_outlives_a_tracker_that_fails(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = finished_search(tmp_path_factory).copy(tmp_path / "copy")
    server = "http://user:secret@127.0.0.1:9"  # nobody listens there
    told = own.search(*FINISHED, "--track", "tensorboard", "--track", f"mlflow={server}")
    assert "secret" not in told
    assert "mlflow: http://user:***@127.0.0.1:9" in told
    assert len([line for line in told.splitlines() if line.startswith("mlflow: ")]) <= 3
    assert "run the same command to send" in told
    for trial in own.trials:
        events = read(own.folder / "var/images/tensorboard" / run_name(trial.number))
        assert [step for step, _ in curves_in(events)["val_loss"]] == [1, 2]
    assert "Traceback" in (own.folder / "var/images/logs/mlflow.log").read_text()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TreinoError, match=r"--track mlflow needs .* install -e '.\[mlflow"):
        Tracking(["mlflow=http://user:secret@box"], "var/treino.db")
