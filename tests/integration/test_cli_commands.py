"""The command line for real: whole searches on tiny images, in processes of their own."""

import json
import multiprocessing
import re
import signal
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import typer
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from search.cli.app import app
from storage.engine import database_url, open_storage
from tests.support.commands import (
    FINISHED,
    SMALL,
    Place,
    finished_search,
    read_until,
    small_place,
)

UNREACHABLE = "postgresql://user:secret@127.0.0.1:1/treino"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished search of three trials and two epochs, which the tests look at."""
    return finished_search(tmp_path_factory)


@pytest.fixture
def own(place: Place, tmp_path: Path) -> Place:
    """The same, for one test to go on with."""
    return place.copy(tmp_path / "own")


@pytest.fixture
def fresh(tmp_path: Path) -> Place:
    return small_place(tmp_path)


@pytest.mark.slow("trains three trials in worker processes, once for all tests that look at them")
def test_a_search_says_what_it_does_and_what_came_of_it(place: Place) -> None:
    out = (place.folder / "first search").read_text()
    first, second, *_ = out.splitlines()
    assert first.startswith("data: images (image folders in ")
    assert second.startswith("new study 'images'; up to 3 trials; ")
    assert "trial 2: complete" in out
    assert "study 'images': 3 trials: 3 complete" in out
    assert "next: make retrain-best" in out
    share = re.search(
        r"^6 epochs in .*, [\d,]+ images/s, (\d+)% of worker time spent training$",
        out,
        re.MULTILINE,
    )
    assert share is not None
    assert 0 < int(share[1]) <= 100


def test_everything_is_under_var(place: Place) -> None:
    written = {path.name for path in place.folder.iterdir()}
    assert written == {"images", "home", "var", "first search", "small.toml"}
    for number in range(3):
        run = place.folder / f"var/images/runs/trial-{number:05d}"
        spec = json.loads((run / "spec.json").read_text())
        assert spec["versions"]["keras"]
        assert spec["data"]["classes"] == ["dark", "grey", "light"]
        assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow("trains a trial more than the finished search")
def test_the_same_command_trains_nothing_more_and_a_larger_total_does(own: Place) -> None:
    again = own.search(*FINISHED)
    assert "from 3 trials: 3 complete" in again
    assert ": started" not in again
    assert "images/s" not in again
    more = own.search(*FINISHED, "--trials", "4", "--pruner", "none", "--track", "tensorboard")
    assert more.count(": started") == 1
    shown = own.folder / "var/images/tensorboard"
    assert "tensorboard: tensorboard --logdir var/images/tensorboard" in more
    assert {path.name for path in shown.glob("trial-*")} == {f"trial-0000{n}" for n in range(4)}
    assert len({tuple(trial.params.items()) for trial in own.trials}) == 4


def test_a_study_is_not_continued_with_anything_else(own: Place) -> None:
    for arguments, said in (
        (("--epochs", "3"), "was made with epochs 2, not 3"),
        (("--image-size", "16", "--study", "images"), "was made with data images "),
        (("--train-order", "folders"), "was made with train order together, not folders"),
        (("--monitor", "val_auc"), "was made with monitor val_loss, not val_auc"),
    ):
        assert said in own.search(*FINISHED, "--trials", "9", *arguments, code=1)


@pytest.mark.slow("trains, saves, loads and draws a model")
def test_retrain_best_hands_over_a_model_with_all_that_belongs_to_it(
    own: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    own = Place(own.folder, drawn=True)
    told, beside = own.json("retrain-best", "--epochs", "3")
    assert capfd.readouterr() == ("", "")
    assert "epoch 3/3" in beside
    is_of_a_model(told, own)
    best = own.folder / "var/images/best"
    names = {
        *("model.keras", "spec.json", "history.csv", "test.json", "retraining.json"),
        *("README.md", "curves.png", "confusion.png", "mistakes.png"),
    }
    assert {path.name for path in best.iterdir()} == names
    for picture in best.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    card = (best / "README.md").read_text(encoding="utf-8")
    assert "0.8439" not in card  # which is of CIFAR-10, and these are other images
    assert re.search(r"\| test accuracy \| [\d.]+ \(95 % interval .*, 6 images\) \|", card)
    assert len((best / "history.csv").read_text().splitlines()) == 4
    spec = json.loads((best / "spec.json").read_text())
    assert spec["training"]["early_stopping"] == {"patience": 10}
    assert spec["training"]["reduce_lr"] == {"factor": 0.1, "patience": 5, "min_lr": 1e-6}
    again = own.run(
        "retrain-best", "--epochs", "3", "--where", "parameters > 1 and learning_rate > 0"
    )
    assert "already trained" in again
    assert "epoch 1/3" not in again
    assert re.search(
        r"test accuracy [\d.]+ \(95 % interval [\d.]+ to [\d.]+, 6 images\); model, card", again
    )
    assert "0.8439" not in again


@pytest.mark.slow("trains one of the documents' networks")
def test_a_baseline_stands_on_the_leaderboard_beside_the_trials(
    own: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("baseline", "run-4", "--data", "images", "--image-size", "8", "--epochs", "1")
    told, _ = own.json(*arguments)
    is_of_a_model(told, own)
    assert capfd.readouterr() == ("", "")
    out = own.run(*arguments)
    assert re.search(
        r"run-4: validation .*, test .* \(95 % interval .*\) after 1 epoch; files", out
    )
    assert "the documents" not in out  # whose figures are of CIFAR-10
    board = own.run("leaderboard")
    weights = f"{told['parameters']:,}"
    for name in ("trial 0", "trial 2", "run-4 trained", weights, "its 95 % interval"):
        assert name in board
    assert "documents' run-10" not in board  # CIFAR-10's figures, and these are other images


def is_of_a_model(told: dict[str, Any], place: Place) -> None:
    assert told["epochs"] == told["spec"]["training"]["epochs"]
    low, high = told["test_interval"]
    assert 0 <= low <= told["test_accuracy"] <= high <= 1
    assert told["test_images"] == 6
    assert (place.folder / told["path"]).is_file()


def test_a_study_of_another_program_is_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "var").mkdir()
    storage = open_storage(database_url(str(tmp_path / "var/treino.db")), write=True)
    optuna.create_study(storage=storage, study_name="foreign").enqueue_trial({"x": 1})
    storage.engine.dispose()
    for command in ("leaderboard", "retrain-best"):
        said = place.run(command, "--study", "foreign", code=1)
        assert "study 'foreign' was not made by treino" in said
    assert "make search" in place.run("retrain-best", code=1)


def test_every_command_with_json_is_tried() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    with_json = {n for n, c in commands.items() if any("--json" in p.opts for p in c.params)}
    here = {"leaderboard", "studies", "data", "claims", "retrain-best", "baseline"}
    # predict and export are tried in their own modules; replay needs curves to replay.
    assert with_json == {*here, "predict", "export", "replay"}


def test_listings_are_for_people_or_json_and_nothing_else(
    own: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "grey" in own.run("data", "--data", "images")
    assert "images" in own.run("studies")
    board, _ = own.json("leaderboard")
    (first,) = [row for row in board if row["name"] == "trial 0"]
    assert first["epochs"] == 2
    assert 0 <= first["val_accuracy"] <= 1
    assert first["test_interval"] is None
    ((study,), _) = own.json("studies")
    assert study["name"] == "images"
    assert datetime.fromisoformat(study["started"]).tzinfo is not None
    data, beside = own.json("data", "--data", "images")
    assert sum(row["training"] for row in data["classes"]) == 48
    assert "data: images" in beside
    claims, _ = own.json("claims")
    assert {claim["verdict"] for claim in claims} == {"not enough data"}
    assert capfd.readouterr() == ("", "")  # whoever prints, past Python's streams, too


def test_a_trial_keeps_what_the_documents_kept_of_theirs(place: Place) -> None:
    storage = open_storage(database_url(str(place.folder / "var/treino.db")), write=False)
    try:
        found = get_all_artifact_meta(place.trials[0], storage=storage)
    finally:
        storage.engine.dispose()
    files = {a.filename: place.folder / "var/artifacts" / a.artifact_id for a in found}
    assert files.keys() == {"spec.json", "curves.png", "model.keras"}
    assert zipfile.is_zipfile(files["model.keras"])
    assert not list(place.folder.glob("var/images/runs/trial-0000?/model.keras"))


@pytest.mark.slow("trains in two processes of the command, one after the other")
def test_a_tuner_is_alone_until_it_is_interrupted_or_its_study_taken_over(fresh: Place) -> None:
    # Of so many epochs that it is at work whenever it is disturbed.
    arguments = [*SMALL, "--trials", "1", "--epochs", "1000", "--no-early-stopping"]
    arguments += ["--workers", "1", "--pruner", "none"]
    first = fresh.start("search", "--data", "images", *arguments)
    read_until(first, ": epoch 2/1000")
    said = fresh.search(*arguments, code=1)
    assert str(first.pid) in said
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert err == ""
    assert "1 paused trial: run the same command to resume it" in out
    assert "interrupted; everything is saved" in out
    (paused,) = [trial for trial in fresh.trials if trial.state is TrialState.RUNNING]
    known = paused.intermediate_values
    assert len(known) >= 2

    # As if it had been suspended for long, and another machine had taken its study over.
    left: list[Any] = []

    def take_over() -> None:
        with closing(sqlite3.connect(fresh.folder / "var/treino.db")) as connection:
            connection.execute("UPDATE treino_leases SET holder = 'another', host = 'elsewhere'")
            connection.commit()
        left.extend((fresh.trials, multiprocessing.active_children()))

    # Once the second epoch is told, the first one is saved.
    told = f"trial {paused.number}: epoch {len(known) + 2}/1000"
    said = fresh.search(*arguments, code=1, once=told, then=take_over)
    taken = r"treino: the search of study 'images' was taken over by .* on elsewhere .*\n"
    assert re.fullmatch(taken, said), said
    trials, workers = left
    assert fresh.trials == trials
    assert known.items() < trials[paused.number].intermediate_values.items()
    assert workers
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.slow("builds and trains run 10")
def test_time_that_is_up_pauses_the_search(fresh: Place) -> None:
    # Up before the worker has started: what it was given is trained for one epoch, and waits.
    # The one network of the built-in space here, on images of the usual size: run 10.
    out = fresh.search("--trials", "1", "--epochs", "9", "--timeout", "0.5", "--workers", "1")
    assert "1 paused trial: run the same command to resume it" in out
    (trial,) = fresh.trials
    assert len(trial.intermediate_values) == 1
    assert trial.params["blocks"] == 4


@pytest.mark.slow("three searches of one study, one of them a process that is killed")
def test_out_of_time_then_killed_then_continued_ends_as_if_undisturbed(
    place: Place, fresh: Place
) -> None:
    # The place's search had peace, and as many workers: threads a worker decide the last bits of
    # a sum.
    out = fresh.search(*FINISHED, "--timeout", "0.5")
    # Beside other work the time may be up before the second worker has started.
    assert "paused trial" in out
    process = fresh.start("search", "--data", "images", *FINISHED)
    read_until(process, "resuming ")
    read_until(process, ": epoch 2/2")
    process.kill()
    process.communicate(timeout=60)
    before = {trial.number: trial.intermediate_values for trial in fresh.trials}
    assert sum(map(len, before.values())) >= 2
    out = fresh.search(*FINISHED, "--timeout", "500")
    assert "resuming " in out
    for number, values in before.items():
        assert values.items() <= fresh.trials[number].intermediate_values.items()

    def told(trials: list[optuna.trial.FrozenTrial]) -> list[object]:
        return [(t.params, t.state, t.value, t.intermediate_values) for t in trials]

    assert told(fresh.trials) == told(place.trials)


def test_without_a_complete_trial_there_is_nothing_to_retrain(own: Place) -> None:
    with closing(sqlite3.connect(own.folder / "var/treino.db")) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL'")
    said = own.run("retrain-best", code=1)
    assert "has no complete trial to retrain: resume the search first (make search)" in said


def test_without_a_trial_that_fits_the_nearest_is_told(own: Place) -> None:
    said = own.run("retrain-best", "--where", "parameters < 10", code=1)
    assert re.search(r"none of 3 trained trials fits; the nearest is trial \d with param", said)
    said = own.run("retrain-best", "--where", "parameter < 10", code=2)
    assert "unknown name 'parameter'; expected" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("search", "--data", "nowhere"), 1, "no images 'nowhere'"),
        (("search", "--trials", "none"), 2, "--trials"),
        (("search", "--epochs", "0"), 2, "--epochs 0: expected 1 or more"),
        (("search", "--sampler", "grid"), 2, "--sampler 'grid': expected gp or tpe or random"),
        (("search", "--pruner", "asha"), 2, "--pruner 'asha': expected promote or median"),
        (("search", "--monitor", "val_los"), 2, "--monitor 'val_los': expected"),
        (("search", "--timeout", "-1"), 2, "--timeout -1.0: expected more than 0"),
        (("search", "--image-size", "4"), 2, "--image-size 4: expected 8 to 1024"),
        (("search", "--data", "digits", "--prior", "no.json"), 1, "cannot read no.json: No such"),
        (("search", "--data", "digits", "--study", "../x"), 1, "'../x'"),
        (("search", "--data", "digits", "--study", "baselines"), 2, "--study baselines"),
        (("search", "--data", "digits", "--storage", UNREACHABLE), 1, "user:***@127.0.0.1"),
        (("search", "--typo"), 2, "--typo"),
        (("search", "--track", "wandb"), 2, "--track 'wandb': expected tensorboard or mlflow"),
        (("search", "--track", "tensorboard=x"), 2, "expected tensorboard, mlflow or mlflow=URI"),
        (("search", "--track", "mlflow", "--track", "mlflow=u:secret@h"), 2, "expected each once"),
        (("leaderboard", "--json", "--csv"), 2, "--json and --csv: expected one of them"),
        (("serch",), 2, "serch"),
        (("baseline", "run-99"), 2, "unknown run 'run-99'; expected one of run-1,"),
        (("retrain-best",), 1, "make search"),
        (("leaderboard",), 1, "make search"),
        (("studies",), 1, "make search"),
        (("dashboard",), 1, "make search"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    line = Place(tmp_path).run(*arguments, code=code)
    assert said in line
    assert "secret" not in line


def test_settings_come_from_flag_then_variable_then_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    (tmp_path / "treino.toml").write_text('pruner = "from the file"\n')
    assert "--pruner 'from the file'" in place.run("search", code=2)
    monkeypatch.setenv("TREINO_PRUNER", "from the variable")
    assert "--pruner 'from the variable'" in place.run("search", code=2)
    assert "--pruner 'flag'" in place.run("search", "--pruner", "flag", code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [("trails = 3", "unknown setting 'trails'"), ("trials = ", "treino.toml: Invalid value")],
)
def test_a_bad_settings_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "treino.toml").write_text(text)
    assert said in Place(tmp_path).run("search", code=2)


def test_help_needs_neither_tensorflow_nor_optuna() -> None:
    code = (
        "import sys, search.cli.app\n"
        "heavy = {'tensorflow', 'keras', 'optuna', 'sqlalchemy', 'numpy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [("search", "--data", "digits"), ("leaderboard",)])
def test_a_working_folder_that_is_gone_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    place = Place(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(pytest.MonkeyPatch, "chdir", lambda *_: folder.rmdir())
        assert "cannot use the working folder" in place.run(*arguments, code=1)
