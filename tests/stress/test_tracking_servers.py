"""MLflow's server and TensorBoard's own show what a search has sent them, read over HTTP.

``make stress`` installs MLflow's server, which is large, into an environment of its own.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.settings import Settings
from search.study.trials import run_name
from search.study.workspace import Workspace
from tests.support.clusters import free_port
from tests.support.commands import (
    FINISHED,
    INTERRUPTED,
    SMALL,
    Place,
    finished_search,
    read_until,
    small_place,
)
from tests.support.trackers import Mlflow, Served, curves_of, files_of, until

ROOT = Path(__file__).parents[2]
INTERPRETER = ROOT / "var/stress/venv-mlflow/bin/python"
# A paused trial is under way, and so is one that was interrupted.
STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.RUNNING: "RUNNING",
}
SCALARS = "/data/plugin/scalars"
HPARAMS = "/data/plugin/hparams"


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[Mlflow]:
    if not INTERPRETER.with_name("mlflow").exists():
        pytest.skip("not installed: make var/stress/venv-mlflow/installed")
    folder = tmp_path / "server"
    folder.mkdir()
    port = free_port()
    where = ("--backend-store-uri", "sqlite:///runs.db", "--artifacts-destination", "artifacts")
    listening = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    command = (INTERPRETER, "-m", "mlflow", "server", *where, *listening)
    server = Mlflow(command, f"http://127.0.0.1:{port}", folder)
    server.start("/health")
    yield server
    server.kill()


@contextmanager
def stored(folder: Path) -> Iterator[Workspace]:
    """What a place has stored, to be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Workspace.open(Settings(), write=False) as place:
            yield place


def assert_shown(folder: Path, server: Mlflow) -> list[optuna.trial.FrozenTrial]:
    """All of the study is on the server, and once; returns its trials."""
    with stored(folder) as place:
        trials = place.study("images").get_trials()
        runs = server.experiment("images")
        assert runs.keys() == {trial.number for trial in trials}
        for trial in trials:
            run = runs[trial.number]
            identity = run["info"]["run_id"]
            assert run["info"]["status"] == STATUS[trial.state]
            params = {each["key"]: each["value"] for each in run["data"]["params"]}
            assert params == {name: str(value) for name, value in trial.params.items()}
            for name, curve in curves_of(place, "images", trial.number).items():
                assert server.curve(identity, name) == curve
            assert server.files(identity) == files_of(place, trial)
    return trials


@pytest.mark.timeout(2400)
def test_a_search_is_on_mlflows_server_whatever_happens_to_either(
    tmp_path: Path, mlflow: Mlflow
) -> None:
    place = small_place(tmp_path / "place")
    tracked = ("--epochs", "9", "--workers", "1", "--track", f"mlflow={mlflow.url}")
    search = ("search", "--data", "images", *SMALL, *tracked, "--trials")

    def interrupted(process: "subprocess.Popen[str]") -> str:
        process.send_signal(signal.SIGINT)
        said, blamed = process.communicate()
        assert process.returncode == INTERRUPTED, said + blamed
        return said

    # Interrupted while the server is there.
    process = place.start(*search, "100")
    until(lambda: mlflow.experiment("images"))
    interrupted(process)
    before = mlflow.experiment("images")

    # Resumed, and the server killed in the middle: the search goes on without it.
    process = place.start(*search, "100")
    until(lambda: len(mlflow.experiment("images")) > len(before))
    mlflow.kill()
    read_until(process, "; the search goes on")
    read_until(process, ": epoch 1/9")
    read_until(process, ": epoch 1/9")
    assert "run the same command to send the rest" in interrupted(process)
    with stored(place.folder) as opened:
        trials = opened.study("images").get_trials()
        assert len(trials) > len(before) + 1
        for trial in trials:
            assert trial.state in STATUS
            curve = curves_of(opened, "images", trial.number).get("val_loss", [])
            assert [epoch for epoch, _ in curve] == list(range(1, len(curve) + 1))

    # The server is back: the same command sends the rest, as often as it says so.
    mlflow.start("/health")
    while "run the same command to send" in place.search(*search[3:], str(len(trials))):
        pass
    trials = assert_shown(place.folder, mlflow)
    assert TrialState.RUNNING not in {trial.state for trial in trials}
    runs = mlflow.experiment("images")
    for number, run in before.items():
        assert runs[number]["info"]["run_id"] == run["info"]["run_id"]
    with stored(place.folder) as opened:
        assert any("model.keras" in files_of(opened, trial) for trial in trials)


@pytest.fixture
def searched(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = finished_search(tmp_path_factory).copy(tmp_path / "copy")
    place.search(*FINISHED, "--track", "tensorboard")
    return place


@pytest.fixture
def tensorboard(tmp_path: Path, searched: Place) -> Iterator[Served]:
    port = free_port()
    command = (
        *(Path(sys.executable).with_name("tensorboard"), "--host", "127.0.0.1"),
        *("--port", str(port), "--logdir", searched.folder / "var/images/tensorboard"),
    )
    server = Served(command, f"http://127.0.0.1:{port}", tmp_path)
    server.start("/data/environment")
    yield server
    server.kill()


@pytest.mark.timeout(1800)
def test_tensorboard_shows_scalars_and_hyperparameters(
    searched: Place, tensorboard: Served
) -> None:
    with stored(searched.folder) as place:
        trials = place.study("images").get_trials()
        curves = {run_name(t.number): curves_of(place, "images", t.number) for t in trials}
    # It reads its files after it has begun to answer.
    shown = until(
        lambda: (tags := tensorboard.json(f"{SCALARS}/tags")).keys() == curves.keys() and tags
    )
    for run, figures in curves.items():
        assert shown[run].keys() == figures.keys()
        for tag, curve in figures.items():
            points = tensorboard.json(f"{SCALARS}/scalars", run=run, tag=tag)
            assert [(step, value) for _, step, value in points] == curve
    experiment = tensorboard.json(f"{HPARAMS}/experiment", {"experimentName": ""})
    assert {each["name"] for each in experiment["hparamInfos"]} == trials[0].params.keys()
    asked = {
        "experimentName": "",
        "startIndex": 0,
        "sliceSize": 10,
        "colParams": [],
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
    }
    groups = tensorboard.json(f"{HPARAMS}/session_groups", asked)["sessionGroups"]
    by_run = {group["name"]: group for group in groups}
    assert by_run.keys() == curves.keys()
    for trial in trials:
        group = by_run[run_name(trial.number)]
        assert group["hparams"] == trial.params
        assert [session["status"] for session in group["sessions"]] == ["STATUS_SUCCESS"]
