"""The command line for real: whole searches on tiny images, in processes of their own."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import datetime
from pathlib import Path

import optuna
import psutil
import pytest
import typer
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from search.cli import app
from storage.engine import database_url, open_storage
from tests.commands import Place
from tests.pictures import image_folder

UNREACHABLE = "postgresql://user:secret@127.0.0.1:1/treino"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished search of three trials and two epochs, which the tests look at and go on with."""
    folder = tmp_path_factory.mktemp("place") / "a folder with spaces"
    image_folder(folder / "images", each=20, side=16)
    place = Place(folder)
    (folder / "first search").write_text(place.search("--trials", "3", "--epochs", "2"))
    return place


@pytest.fixture
def fresh(tmp_path: Path) -> Place:
    image_folder(tmp_path / "images", each=20, side=16)
    return Place(tmp_path)


def test_a_search_says_what_it_does_and_what_came_of_it(place: Place) -> None:
    out = (place.folder / "first search").read_text()
    first, second, *_ = out.splitlines()
    assert first.startswith("data: images (image folders in ")
    assert second.startswith("new study 'images'; up to 3 trials; ")
    assert "trial 2: complete" in out
    assert "study 'images': 3 trials: 3 complete" in out
    assert "next: make retrain-best" in out
    share = re.search(
        r"^6 epochs in .*, [\d,]+ images/s, (\d+)% of the workers' time training$",
        out,
        re.MULTILINE,
    )
    assert share is not None
    assert 0 < int(share[1]) <= 100


def test_everything_is_under_var(place: Place) -> None:
    written = {path.name for path in place.folder.iterdir()}
    assert written <= {"images", "home", "var", "first search", "treino.toml"}
    for number in range(3):
        run = place.folder / f"var/images/runs/trial-{number:05d}"
        spec = json.loads((run / "spec.json").read_text())
        assert spec["versions"]["keras"]
        assert spec["data"]["classes"] == ["dark", "grey", "light"]
        assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_trains_nothing_more_and_a_larger_total_does(place: Place) -> None:
    again = place.search("--trials", "3", "--epochs", "2")
    assert "goes on from 3 trials: 3 complete" in again
    assert ": started" not in again
    assert "images/s" not in again
    more = place.search("--trials", "4", "--epochs", "2", "--pruner", "none")
    assert more.count(": started") == 1
    assert len({tuple(trial.params.items()) for trial in place.trials}) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--epochs", "3"), "was made with epochs 2, not 3"),
        (
            ("--epochs", "2", "--image-size", "16", "--study", "images"),
            "was made with data images ",
        ),
        (("--epochs", "2", "--train-order", "folders"), "was made with space documents, together"),
        (("--epochs", "2", "--monitor", "loss"), "was made with monitor val_loss, not loss"),
    ],
)
def test_a_study_is_not_continued_with_anything_else(
    place: Place, arguments: tuple[str, ...], said: str
) -> None:
    assert said in place.search("--trials", "9", *arguments, code=1)


def test_retrain_best_hands_over_a_model_with_all_that_belongs_to_it(place: Place) -> None:
    out = place.run("retrain-best", "--epochs", "3")
    assert re.search(
        r"test accuracy [\d.]+ \(95 % interval [\d.]+ to [\d.]+, 6 images\); model, card", out
    )
    assert "0.8439" not in out  # which is of CIFAR-10, and these are other images
    best = place.folder / "var/images/best"
    names = {
        *("model.keras", "spec.json", "history.csv", "test.json", "README.md"),
        *("curves.png", "confusion.png", "mistakes.png"),
    }
    assert {path.name for path in best.iterdir()} == names
    card = (best / "README.md").read_text(encoding="utf-8")
    assert "0.8439" not in card
    assert re.search(r"\| test accuracy \| [\d.]+ \(95 % interval .*, 6 images\) \|", card)
    assert len((best / "history.csv").read_text().splitlines()) == 4
    spec = json.loads((best / "spec.json").read_text())
    assert spec["training"]["early_stopping"] == {"patience": 10}
    assert spec["training"]["reduce_lr"] == {"factor": 0.1, "patience": 5, "min_lr": 1e-6}
    again = place.run("retrain-best", "--epochs", "3")
    assert "trained already" in again
    assert "epoch 1/3" not in again


def test_a_baseline_stands_on_the_leaderboard_beside_the_trials(place: Place) -> None:
    out = place.run("baseline", "run-4", "--data", "images", "--epochs", "1")
    assert re.search(
        r"run-4: validation .*, test .* \(95 % interval .*\) after 1 epoch; files", out
    )
    assert "the documents" not in out  # whose figures are of CIFAR-10
    board = place.run("leaderboard")
    for name in ("trial 0", "trial 2", "run-4 trained", "1,146,819", "its 95 % interval"):
        assert name in board
    assert "documents' run-10" not in board  # CIFAR-10's figures, and these are other images


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


def test_data_and_studies_are_listed(place: Place) -> None:
    assert "grey" in place.run("data", "--data", "images")
    assert "images" in place.run("studies")


JSON_COMMANDS = {
    "leaderboard": (),
    "studies": (),
    "data": ("--data", "images"),
    "retrain-best": ("--epochs", "3"),
    "baseline": ("run-4", "--data", "images", "--epochs", "1"),
    "claims": (),
}


def test_every_command_with_json_is_tried() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    with_json = {n for n, c in commands.items() if any("--json" in p.opts for p in c.params)}
    # predict is tried in test_search_predict.py; replay needs curves to replay.
    assert with_json == {*JSON_COMMANDS, "predict", "replay"}


@pytest.mark.parametrize(("command", "arguments"), JSON_COMMANDS.items())
def test_json_is_all_that_is_on_stdout(
    place: Place, command: str, arguments: tuple[str, ...]
) -> None:
    process = place.start(command, *arguments, "--json")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    told = json.loads(out)
    if command == "leaderboard":
        (first,) = [row for row in told if row["name"] == "trial 0"]
        assert first["epochs"] == 2
        assert 0 <= first["val_accuracy"] <= 1
        assert first["test_interval"] is None
    elif command == "studies":
        assert told[0]["name"] == "images"
        assert datetime.fromisoformat(told[0]["started"]).tzinfo is not None
    elif command == "data":
        assert sum(row["training"] for row in told["classes"]) == 48
        assert "data: images" in err
    elif command == "claims":
        assert {claim["verdict"] for claim in told} == {"not enough data"}
    else:
        assert told["epochs"] == told["spec"]["training"]["epochs"]
        low, high = told["test_interval"]
        assert 0 <= low <= told["test_accuracy"] <= high <= 1
        assert told["test_images"] == 6
        assert Path(place.folder / told["path"]).is_file()


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


def test_a_search_interrupted_by_ctrl_c_goes_on_with_the_same_command(fresh: Place) -> None:
    arguments = ("--trials", "1", "--epochs", "6", "--workers", "1", "--pruner", "none")
    process = fresh.start("search", "--data", "images", *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 2/6" in line:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert "1 paused trial: the same command takes them up again" in out
    assert "interrupted; everything is saved" in out
    (paused,) = [trial for trial in fresh.trials if trial.state is TrialState.RUNNING]
    known = len(paused.intermediate_values)
    assert known >= 2
    out = fresh.search(*arguments)
    assert "taking up 1 unfinished trial" in out
    assert "epoch 1/6" not in out
    assert [len(trial.intermediate_values) for trial in fresh.trials] == [6]


def test_a_killed_tuner_loses_no_epoch_and_no_trial(fresh: Place) -> None:
    arguments = ("--trials", "2", "--epochs", "5", "--workers", "2", "--pruner", "none")
    process = fresh.start("search", "--data", "images", *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 3/5" in line:
            process.kill()
            break
    process.communicate(timeout=60)
    before = {trial.number: trial.intermediate_values for trial in fresh.trials}
    assert sum(map(len, before.values())) >= 3
    out = fresh.search(*arguments)
    assert "taking up 2 unfinished trials" in out
    for trial in fresh.trials:
        assert trial.state is TrialState.COMPLETE
        assert len(trial.intermediate_values) == 5
        assert before[trial.number].items() <= trial.intermediate_values.items()


def test_a_second_tuner_is_told_who_the_first_is(fresh: Place) -> None:
    arguments = ("--trials", "200", "--epochs", "10", "--workers", "1")
    first = fresh.start("search", "--data", "images", *arguments)
    assert first.stdout is not None
    for line in first.stdout:
        if "trial 0: started" in line:
            break
    said = fresh.search(*arguments, code=1)
    assert str(first.pid) in said
    # As if the first had been suspended for long, and another machine had taken its study over.
    with closing(sqlite3.connect(fresh.folder / "var/treino.db")) as connection:
        connection.execute("UPDATE treino_leases SET holder = 'another', host = 'elsewhere'")
        connection.commit()
    before = fresh.trials
    workers = psutil.Process(first.pid).children(recursive=True)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 1
    assert re.fullmatch(r"treino: study 'images' was taken over by .* on elsewhere .*\n", err), err
    assert fresh.trials == before
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_time_that_is_up_pauses_the_search(fresh: Place) -> None:
    # Up before the worker has started: what it was given is trained for one epoch, and waits.
    out = fresh.search("--trials", "1", "--epochs", "9", "--timeout", "0.5", "--workers", "1")
    assert "1 paused trial: the same command takes them up again" in out
    assert [len(trial.intermediate_values) for trial in fresh.trials] == [1]


def test_out_of_time_then_killed_then_continued_ends_as_if_undisturbed(
    place: Place, fresh: Place
) -> None:
    # The first three trials of the module's search, which had two epochs and peace; with as many
    # workers, because threads a worker decide the last bits of a sum.
    arguments = ("--trials", "3", "--epochs", "2")
    # How far it gets in that time does not matter.
    fresh.start("search", "--data", "images", *arguments, "--timeout", "6").communicate()
    process = fresh.start("search", "--data", "images", *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/2" in line:
            process.kill()
            break
    process.communicate(timeout=60)
    fresh.search(*arguments, "--timeout", "500")

    def told(trials: list[optuna.trial.FrozenTrial]) -> list[object]:
        return [(t.params, t.state, t.value, t.intermediate_values) for t in trials[:3]]

    assert told(fresh.trials) == told(place.trials)


def test_without_a_complete_trial_there_is_nothing_to_retrain(fresh: Place) -> None:
    fresh.search("--trials", "1", "--max-params", "1", code=1)
    said = fresh.run("retrain-best", code=1)
    assert "has no complete trial to retrain: continue the search first (make search)" in said


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
        (("serch",), 2, "serch"),
        (("baseline", "run-99"), 2, "no documented run 'run-99'; there are: run-1,"),
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
        "import sys, search.cli\n"
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
        assert "the working folder cannot be used" in place.run(*arguments, code=1)
