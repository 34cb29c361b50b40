"""Whole commands: in processes of their own where they are sent signals, else in the test's."""

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.cli.app import main
from storage.engine import database_url, open_storage
from tests.support.pictures import image_folder

INTERRUPTED = 128 + signal.SIGINT

# Networks that are built and traced in less than half the time of those of the built-in space.
SMALL = ("--image-size", "8", "--space", "small.toml")
_SPACE = """
[ranges]
blocks = 1
last_filters = 32
batch_norm = false
dropout_first = 0.0
dropout_blocks = 0.0
"""

_DRAWING = (
    "search.figures.plots.draw_curves",
    "search.figures.plots.draw_confusion",
    "search.retraining.delivery.draw_mistakes",
    "search.claims.plots.draw",
)

TREINO = str(Path(sys.executable).with_name("treino"))
_started: "list[subprocess.Popen[str]]" = []


@dataclass(frozen=True)
class Place:
    """A folder to run treino in, with a home of its own.

    Commands in this process draw no pictures of trainings and claims unless they are to be
    ``drawn``: each takes as long as a training's second epoch to its tenth.
    """

    folder: Path
    drawn: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder / "home"), "COLUMNS": "100"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [TREINO, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _started.append(process)
        return process

    def run(
        self,
        *arguments: str,
        code: int = 0,
        once: str = "",
        then: Callable[[], object] | None = None,
    ) -> str:
        """What it prints; on stdout when it should end well, else its one line on stderr.

        In this process, which has imported everything: only the workers have their own. ``once``
        it has printed that, it is held up for ``then``.
        """
        ended, out, err = self._run(arguments, _Told(once, then))
        assert ended == code, out + err
        if code in (0, INTERRUPTED):
            assert err == ""
            return out
        assert err.startswith("treino: ")
        assert err.count("\n") == 1, err
        return err

    def json(self, *arguments: str) -> tuple[Any, str]:
        """What it prints with --json, and what it says beside that on stderr; as ``run``."""
        ended, out, err = self._run((*arguments, "--json"), _Told())
        assert ended == 0, out + err
        return json.loads(out), err

    def _run(self, arguments: tuple[str, ...], told: "_Told") -> tuple[object, str, str]:
        blamed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in ("HOME", "COLUMNS"):
                patch.setenv(name, self.environment[name])
            for function in () if self.drawn else _DRAWING:
                patch.setattr(function, _not_drawn)
            with redirect_stdout(told), redirect_stderr(blamed), pytest.raises(SystemExit) as ended:
                main(arguments)
        assert told.then is None, f"it ended without saying {told.once!r}: {told.getvalue()}"
        return ended.value.code or 0, told.getvalue(), blamed.getvalue()

    def copy(self, folder: Path) -> "Place":
        """The same, for one test to go on with; the decoded images stay where they are."""
        return Place(shutil.copytree(self.folder, folder, copy_function=_copied))

    def search(self, *arguments: str, **run: Any) -> str:
        return self.run("search", "--data", "images", *arguments, **run)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        storage = open_storage(database_url(str(self.folder / "var/treino.db")), write=False)
        try:
            return optuna.load_study(study_name="images", storage=storage).get_trials()
        finally:
            storage.engine.dispose()


def _copied(source: str, target: str) -> str:
    """Copy a file, but for one of SQLite's that a reader in another process has just removed."""
    try:
        return shutil.copy2(source, target)
    except FileNotFoundError:
        if not source.endswith((".db-shm", ".db-wal")):
            raise
        return target


def _not_drawn(*shown: object, **more: object) -> None:
    """Writes in place of a picture what it would show."""
    (path,) = (argument for argument in shown if isinstance(argument, Path))
    path.write_text(repr((shown, more)))


class _Told(io.StringIO):
    """A standard output that does something ``once`` a text is printed, one time."""

    def __init__(self, once: str = "", then: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.once, self.then = once, then

    def write(self, text: str, /) -> int:
        written = super().write(text)
        if self.then is not None and self.once in self.getvalue():
            then, self.then = self.then, None
            then()
        return written


def interrupt() -> None:
    """Ctrl-C, for a command in this process."""
    os.kill(os.getpid(), signal.SIGINT)


def small_place(folder: Path) -> Place:
    """A place with images and with what SMALL names."""
    image_folder(folder / "images", each=20)
    (folder / "small.toml").write_text(_SPACE)
    return Place(folder)


FINISHED = (*SMALL, "--trials", "3", "--epochs", "2", "--workers", "2")


def finished_search(temporary: pytest.TempPathFactory) -> Place:
    """A place with a FINISHED search, whose output is in a file; only to be looked at or copied."""

    def search(folder: Path) -> None:
        place = Place(small_place(folder).folder, drawn=True)
        told = place.search(*FINISHED)
        (folder / "first search").write_text(told)

    return made_once(temporary, "a finished search", search)


RETRAINED = ("retrain-best", "--top", "2", "--epochs", "2")


def retrained_search(temporary: pytest.TempPathFactory) -> Place:
    """A place with a FINISHED search, two of whose trials are RETRAINED; only to be copied."""
    searched = finished_search(temporary)
    return made_once(
        temporary, "retrained trials", lambda folder: searched.copy(folder).run(*RETRAINED)
    )


def made_once(
    temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Place:
    """A place that ``make`` makes in a new folder, whichever of pytest's processes comes first."""
    root = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    whole = root / f"{name}.whole"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            whole.touch()
    return Place(folder)


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"it ended without saying {text!r}")


def end_all() -> None:
    """End what a test started and, because it failed, did not see the end of."""
    while _started:
        process = _started.pop()
        with process:  # closes its pipes
            process.kill()
