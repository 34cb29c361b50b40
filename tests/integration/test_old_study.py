"""A study made by version 0.1.0 is continued, shown and retrained by this one.

``study_of_0_1_0.tar.xz`` holds a folder as that version left it: ``images``, ``network.py`` (a
small network of the user's own) and ``var``. Its study ``own`` was interrupted: four trials are
complete, five pruned, two failed, two paused; its best trial was retrained. ``documents`` is a
finished study of the built-in space that kept no checkpoint.
"""

import json
import tarfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable
from wsgiref.util import setup_testing_defaults
from zipfile import ZipFile

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from packaging.version import Version

from search.reports.dashboard import application
from storage.engine import database_url, open_storage
from tests.support.commands import Place


@runtime_checkable
class Closing(Protocol):
    """A body that holds a file open."""

    def close(self) -> None: ...


ARCHIVE = Path(__file__).with_name("study_of_0_1_0.tar.xz")
OWN = ("--image-size", "16", "--space", "network.py:build", "--study", "own", "--seed", "3")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Place(tmp_path)


def trials(place: Place, study: str) -> list[FrozenTrial]:
    storage = open_storage(database_url(str(place.folder / "var/treino.db")), write=False)
    try:
        return optuna.load_study(study_name=study, storage=storage).get_trials()
    finally:
        storage.engine.dispose()


def test_it_is_shown(place: Place) -> None:
    listed = {row["name"]: row for row in json.loads(place.run("studies", "--json"))}
    assert listed["own"]["trials"] == {"COMPLETE": 4, "FAIL": 2, "PRUNED": 5, "RUNNING": 2}
    board = {row["name"] for row in json.loads(place.run("leaderboard", "--study=own", "--json"))}
    assert {"trial 5", "trial 4, pruned", "trial 5 retrained"} <= board
    place.run("report", "--study", "own")
    page = (place.folder / "var/own/report/report.html").read_text(encoding="utf-8")
    assert "five filters cannot be trained" in page
    assert len(json.loads(place.run("claims", "--study", "documents", "--json"))) > 3
    images = sorted((place.folder / "images/light").iterdir())[:2]
    with ZipFile(place.folder / "var/own/best/model.keras") as model:
        saved_by = json.loads(model.read("metadata.json"))["keras_version"]
    if Version(version("keras")) >= Version(saved_by):  # the one for Python 3.10 is older
        told = place.run("predict", "var/own/best", *map(str, images), "--json")
        assert [Path(each["image"]) for each in json.loads(told)] == images


@pytest.mark.slow("trains five trials and the best one")
def test_it_is_continued_and_retrained(place: Place) -> None:
    before = trials(place, "own")
    out = place.search(*OWN, "--trials", "14", "--epochs", "9", "--workers", "1", "--keep", "2")
    assert "trial 13: started" in out
    after = trials(place, "own")
    assert len(after) == 14
    for old, new in zip(before, after, strict=False):
        assert old.params == new.params
        assert old.intermediate_values.items() <= new.intermediate_values.items()
        if old.state.is_finished():
            assert (old.state, old.value) == (new.state, new.value)
    paused = [trial.number for trial in before if trial.state is TrialState.RUNNING]
    assert len(paused) == 2
    assert {after[number].state for number in paused} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert not any(f"trial {number}: epoch 1/" in out for number in paused)
    assert "test accuracy" in place.run("retrain-best", "--study", "own", "--epochs", "2")
    more = place.search(
        "--image-size=8", "--study=documents", "--trials=5", "--epochs=4", "--seed=3"
    )
    assert more.count(": started") == 1


def test_the_dashboard_shows_it(place: Place) -> None:
    storage = open_storage(database_url(str(place.folder / "var/treino.db")), write=False)
    artifacts = place.folder / "var/artifacts"
    app = application(storage, artifacts, writable=False, hosts={"127.0.0.1"})

    def get(path: str) -> bytes:
        told: list[str] = []
        environ: dict[str, object] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        environ["HTTP_HOST"] = "127.0.0.1"

        def start(status: str, *_: object) -> Callable[[bytes], object]:
            told.append(status)
            return lambda _body: None

        answer = app(environ, start)
        body = b"".join(answer)
        if isinstance(answer, Closing):
            answer.close()  # as a server does
        assert told == ["200 OK"]
        return body

    try:
        studies = json.loads(get("/api/studies"))["study_summaries"]
        assert {study["study_name"] for study in studies} == {"own", "documents"}
        (number,) = [s["study_id"] for s in studies if s["study_name"] == "own"]
        shown = json.loads(get(f"/api/studies/{number}"))["trials"]
        best = next(trial for trial in shown if trial["number"] == 5)
        files = {each["filename"]: each["artifact_id"] for each in best["artifacts"]}
        assert {"curves.png", "spec.json", "model.keras"} <= files.keys()
        path = f"/artifacts/{number}/{best['trial_id']}/{files['curves.png']}"
        assert get(path).startswith(b"\x89PNG")
    finally:
        storage.engine.dispose()
