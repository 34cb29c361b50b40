"""What trackers have to show of a study, and the servers of MLflow and TensorBoard."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta

from search.study.trials import history, run_name
from search.study.workspace import Workspace

PATIENCE = 900.0  # seconds: a server may start on a busy machine


def curves_of(place: Workspace, study: str, number: int) -> dict[str, list[tuple[int, Any]]]:
    """The epochs of a trial as they are stored, by figure; empty if it has none."""
    epochs = history(place.records, study, run_name(number))
    return {
        name: [(epoch.epoch, pytest.approx(getattr(epoch, name))) for epoch in epochs]
        for name in (epochs[0].measured() if epochs else ())
    }


def files_of(place: Workspace, trial: optuna.trial.FrozenTrial) -> dict[str, bytes]:
    """The files of a trial as they are stored, by name."""
    return {
        meta.filename: (place.layout.artifacts / meta.artifact_id).read_bytes()
        for meta in get_all_artifact_meta(trial, storage=place.storage)
    }


class Served:
    """A server in a process group of its own, and its HTTP API.

    Attributes:
        url: Its address, without a slash at the end.
        variables: What its environment has besides.

    Args:
        command: Starts it.
        url: See above.
        folder: Where it runs and logs.
    """

    variables: ClassVar[Mapping[str, str]] = {}

    def __init__(self, command: Sequence[str | Path], url: str, folder: Path) -> None:
        self.url = url
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: str) -> None:
        """Start it; returns when it answers a request for the path ``ready``."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**os.environ, **self.variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.bytes(ready)
            except (URLError, ConnectionError):
                assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
                assert self._process.poll() is None, (self._folder / "server.log").read_text()
                time.sleep(0.2)
            else:
                return

    def kill(self) -> None:
        """Kill it with all its processes; nothing if it does not run."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def bytes(self, path: str, sent: object = None, /, **query: object) -> bytes:
        """What it answers to a GET, or to a POST of JSON if something is ``sent``."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if sent is None else json.dumps(sent).encode()
        request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - loopback
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content

    def json(self, path: str, sent: object = None, /, **query: object) -> Any:
        """The same, as JSON."""
        return json.loads(self.bytes(path, sent, **query))


def until(condition: Callable[[], Any]) -> Any:
    """What a function returns, as soon as it returns something true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


class Mlflow(Served):
    """MLflow's server, without its jobs for language models."""

    variables: ClassVar[Mapping[str, str]] = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }

    def experiment(self, name: str) -> dict[int, Mapping[str, Any]]:
        """The runs of an experiment by trial; empty if there is no such experiment."""
        experiments = self._api("experiments/search", {"max_results": 100}).get("experiments", [])
        identities = [each["experiment_id"] for each in experiments if each["name"] == name]
        if not identities:
            return {}
        found = self._api("runs/search", {"experiment_ids": identities, "max_results": 100})
        runs = {}
        for run in found.get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
            number = int(tags["treino.trial"])
            assert number not in runs, "a trial has two runs"
            runs[number] = run
        return runs

    def curve(self, run: str, name: str) -> list[tuple[int, float]]:
        """Epochs of a run, as they were logged."""
        query = {"run_id": run, "metric_key": name, "max_results": 1000}
        points = self.json("/api/2.0/mlflow/metrics/get-history", **query).get("metrics", [])
        return [(int(point["step"]), point["value"]) for point in points]

    def files(self, run: str) -> dict[str, bytes]:
        """The files of a run by name."""
        listed = self.json("/api/2.0/mlflow/artifacts/list", run_id=run).get("files", [])
        return {
            file["path"]: self.bytes("/get-artifact", path=file["path"], run_uuid=run)
            for file in listed
        }

    def _api(self, name: str, sent: object) -> Any:
        return self.json(f"/api/2.0/mlflow/{name}", sent)
