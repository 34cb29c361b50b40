"""The process of a tracker. It reads the study, as the dashboard does, and sends what is new.

The tuner does not wait for it: a tracker that is slow, fails or dies costs no epoch.
"""

import importlib
import os
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import optuna

from search import processes
from search.settings import Settings
from search.study.workspace import Workspace
from search.tracking.tracked import Changes, Tracker
from storage.engine import masked

INTERVAL = 2.0  # minimum seconds between two looks at the study
SHARE = 0.05  # maximum share of its time in which it looks and sends
MLFLOW = {  # variables that it reads when it is imported; what the user has set stays
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the process itself tries again, later
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
LONGEST = 60.0  # maximum seconds before it tries again after a failure


@dataclass(frozen=True)
class Target:
    """A tracker to use.

    Attributes:
        name: ``tensorboard`` or ``mlflow``.
        uri: MLflow's tracking URI.
    """

    name: str
    uri: str = ""

    @property
    def has_server(self) -> bool:
        """Whether a server stores the runs and their files."""
        return self.uri.startswith(("http:", "https:", "databricks"))


def follow(channel: Connection, target: Target, storage: str, study: str, log: Path) -> None:
    """Main function of the process.

    Sends lines for the user through ``channel``. Anything that comes from there is the request to
    send the rest and end.
    """
    processes.leave_with_parent()
    processes.print_to(log, append=True)
    with ExitStack() as resources:
        follower = _Follower(target, storage, study, resources)
        try:
            follower.run(channel)
        except (EOFError, OSError):  # the other end is gone
            traceback.print_exc()


class _Follower:
    """Looks at a study again and again, and sends what has changed."""

    def __init__(self, target: Target, storage: str, study: str, resources: ExitStack) -> None:
        self._target = target
        self._settings = Settings(storage=storage)
        self._study = study
        self._resources = resources
        self._workspace: Workspace | None = None
        self._following: tuple[Changes, Tracker] | None = None

    def run(self, channel: Connection) -> None:
        wait, failing = 0.0, False
        while True:
            ending = channel.poll(wait)
            start = time.monotonic()
            fault = self._look()
            if ending:
                if fault:
                    channel.send(f"{fault}; run the same command to send the rest")
                return
            if fault and not failing:
                channel.send(f"{fault}; the search goes on, and so do attempts to send")
            elif failing and not fault:
                channel.send("everything is sent again")
            failing = bool(fault)
            took = time.monotonic() - start
            wait = min(LONGEST, INTERVAL + 2 * wait) if failing else max(INTERVAL, took / SHARE)

    def _look(self) -> str:
        """Send what is new; returns why that failed, in one line, or nothing."""
        try:
            changes, tracker = self._opened()
            changes.send_to(tracker)
        except Exception as error:  # noqa: BLE001 - trackers' libraries raise anything
            traceback.print_exc()  # to the log
            return masked(" ".join(str(error).split())[:200]) or type(error).__name__
        return ""

    def _opened(self) -> tuple[Changes, Tracker]:
        if self._workspace is None:
            self._workspace = self._resources.enter_context(
                Workspace.open(self._settings, write=False)
            )
        if self._following is None:
            study = self._workspace.study(self._study)
            tracker = _tracker(self._target, self._workspace, study)
            self._following = Changes(self._workspace, study), tracker
        return self._following


def _tracker(target: Target, workspace: Workspace, study: optuna.Study) -> Tracker:
    """The tracker of a target. Its libraries are imported here and nowhere else."""
    name, layout = study.study_name, workspace.layout
    tracker: Tracker
    if target.name == "tensorboard":
        module = importlib.import_module("search.tracking.event_files")
        tracker = module.EventFiles(layout.tensorboard(name))
    else:
        os.environ.update(MLFLOW | os.environ)
        module = importlib.import_module("search.tracking.mlflow_runs")
        folder = None if target.has_server else layout.mlflow(name)
        tracker = module.MlflowRuns(target.uri, name, folder)
    return tracker
