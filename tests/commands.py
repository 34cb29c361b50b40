"""Whole commands: in processes of their own where they are sent signals, else in the test's."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from search.cli import main
from storage.engine import database_url, open_storage

TREINO = str(Path(sys.executable).with_name("treino"))
_started: "list[subprocess.Popen[str]]" = []


@dataclass(frozen=True)
class Place:
    """A folder to run treino in, with a home of its own."""

    folder: Path

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

    def run(self, *arguments: str, code: int = 0) -> str:
        """What it prints; on stdout when it should end well, else its one line on stderr.

        In this process, which has imported everything: only the workers have their own.
        """
        told, blamed = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in ("HOME", "COLUMNS"):
                patch.setenv(name, self.environment[name])
            with redirect_stdout(told), redirect_stderr(blamed), pytest.raises(SystemExit) as ended:
                main(arguments)
        out, err = told.getvalue(), blamed.getvalue()
        assert (ended.value.code or 0) == code, out + err
        if code == 0:
            assert err == ""
            return out
        assert err.startswith("treino: ")
        assert err.count("\n") == 1, err
        return err

    def search(self, *arguments: str, code: int = 0) -> str:
        return self.run("search", "--data", "images", *arguments, code=code)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        storage = open_storage(database_url(str(self.folder / "var/treino.db")), write=False)
        try:
            return optuna.load_study(study_name="images", storage=storage).get_trials()
        finally:
            storage.engine.dispose()


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
