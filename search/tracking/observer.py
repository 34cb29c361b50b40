"""Starts a process for each tracker of a search, and passes on what it says."""

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import optuna

from search import processes
from search.console.terminal import printable
from search.errors import TreinoError
from search.study.workspace import Workspace
from search.tracking.process import Target, follow
from search.tuning.observers import Observer
from storage.engine import masked
from storage.files import Layout

PATIENCE = 60.0  # seconds that a search waits at its end for trackers to send the rest
TURN = 0.2  # seconds
_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}  # of a tracker, which is its extra


class Tracking(Observer):
    """The trackers of a search."""

    def __init__(self, wanted: Sequence[str], storage: str) -> None:
        """Follow a search with trackers.

        Args:
            wanted: Values of the setting ``track``.
            storage: The database, as in the settings.

        Raises:
            TreinoError: A tracker's package is not installed.
        """
        self._wanted = [value.partition("=")[::2] for value in wanted]
        for name, _ in self._wanted:
            if importlib.util.find_spec(_PACKAGES[name]) is None:
                raise TreinoError(
                    f"--track {name} needs a package that is not installed: in treino's folder, "
                    f"run .venv/bin/pip install -e '.[{name}]'"
                )
        self._storage = storage
        self._followers: list[_Follower] = []

    def search_started(
        self, workspace: Workspace, study: optuna.Study, say: Callable[[str], None]
    ) -> None:
        """Start the trackers, and say where they show the study."""
        name, layout = study.study_name, workspace.layout
        for tracker, uri in self._wanted:
            target = Target(tracker, _mlflow_uri(uri, layout) if tracker == "mlflow" else "")
            self._followers.append(_Follower(target, self._storage, name, layout, say))

    def epoch_ended(self) -> None:
        """Pass on what the trackers say."""
        for follower in self._followers:
            follower.pass_on()

    def search_ended(
        self, workspace: Workspace, study: optuna.Study, stopped: Callable[[], bool]
    ) -> None:
        """Let the trackers send the rest."""
        for follower in self._followers:
            follower.ask_to_end()
        deadline = time.monotonic() + PATIENCE
        for follower in self._followers:
            follower.end(deadline, stopped)
        self._followers.clear()


class _Follower:
    """This end of a tracker's process."""

    def __init__(
        self, target: Target, storage: str, study: str, layout: Layout, say: Callable[[str], None]
    ) -> None:
        self._name = target.name
        self._say = say
        log = layout.logs(study) / f"{target.name}.log"
        self._channel, theirs = multiprocessing.Pipe()
        self._process: BaseProcess = processes.start(
            follow, theirs, target, storage, study, log, name=f"treino {target.name}", afresh=True
        )
        theirs.close()  # so that a dead process shows up as end of file
        say(_where(target, layout, study))

    def pass_on(self) -> None:
        """Say what the process has said."""
        with suppress(EOFError, OSError):  # it has ended
            while self._channel.poll():
                self._say(f"{self._name}: {printable(self._channel.recv())}")

    def ask_to_end(self) -> None:
        """Ask the process to send the rest and end."""
        with suppress(OSError):
            self._channel.send(None)

    def end(self, deadline: float, stopped: Callable[[], bool]) -> None:
        """Wait for the process until ``deadline``, or until ``stopped``, then kill it."""
        while self._process.is_alive() and time.monotonic() < deadline and not stopped():
            wait([self._process.sentinel], TURN)
            self.pass_on()
        self.pass_on()
        if self._process.is_alive():
            self._process.kill()
            self._say(f"{self._name}: not everything is sent; run the same command to send it")
        elif self._process.exitcode:
            self._say(f"{self._name}: its process died, see its log; run the same command to send")
        self._process.join()
        self._channel.close()


def _mlflow_uri(uri: str, layout: Layout) -> str:
    """The tracking URI: the user's, else MLflow's own variable, else a database below ``var/``."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{layout.mlflow_database}"


def _where(target: Target, layout: Layout, study: str) -> str:
    if target.name == "tensorboard":
        return f"tensorboard: tensorboard --logdir {printable(layout.tensorboard(study))}"
    shown = printable(masked(target.uri))
    return (
        f"mlflow: {shown}"
        if target.has_server
        else f"mlflow: mlflow ui --backend-store-uri {shown}"
    )
