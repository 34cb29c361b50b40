"""The command `treino` under hostile settings of Python's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import processes
from tests.support.pictures import image_folder

TREINO = Path(sys.executable).with_name("treino")
NAMES = ("data", "models", "search", "storage", "keras", "numpy", "optuna", "typer", "tensorflow")

PROGRAM = """
import json, multiprocessing, os, sys, warnings
from importlib.util import find_spec
import treino_entry

def state():
    from data import dataset
    import models, search, storage
    ours = [module.__file__ for module in (dataset, models, search, storage)]
    import users_own
    return {
        "origins": ours + [find_spec(name).origin for name in ("keras", "numpy", "optuna")],
        "strict": [f[0] for f in warnings.filters].count("error"),
        "flags": [sys.flags.optimize, sys.flags.dev_mode, sys.flags.inspect],
        "own": users_own.VALUE,
        "variables": [os.environ.get("KERAS_BACKEND"), os.environ.get("MY_SETTING")],
        "parent": os.getppid(),
    }

def work(channel):
    channel.send(state())

if __name__ == "__main__":
    treino_entry.set_up()
    from search import processes
    processes.preload()
    told = {"arguments": sys.argv[1:], "process": os.getpid(), "entry": state()}
    for name, afresh in (("forked", False), ("spawned", True)):
        ours, theirs = multiprocessing.Pipe()
        process = processes.start(work, theirs, name=name, afresh=afresh)
        theirs.close()
        told[name] = ours.recv()
        process.join()
    print(json.dumps(told))
"""


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment with modules named like ours and like what we need."""
    path = tmp_path / "projects"
    path.mkdir()
    for name in NAMES:
        (path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    (path / "users_own.py").write_text("VALUE = 'mine'")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    return os.environ | {
        "PYTHONPATH": f"{path}{os.pathsep}",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONDEVMODE": "1",
        "PYTHONINSPECT": "1",
        "KERAS_BACKEND": "jax",
        "MY_SETTING": "kept",
        "TMPDIR": str(long),
        "COLUMNS": "100",
    }


@pytest.mark.slow("imports TensorFlow in a process of its own")
def test_every_process_imports_our_own_code_and_runs_it_as_it_is(
    hostile: dict[str, str], tmp_path: Path
) -> None:
    program, place = tmp_path / "program.py", tmp_path / "place"
    program.write_text(PROGRAM)
    place.mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    done = subprocess.run(
        [sys.executable, program, "an argument", "--help"],
        cwd=place,
        env=hostile,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["arguments"] == ["an argument", "--help"]
    root = Path(__file__).parents[2]
    for which in ("entry", "forked", "spawned"):
        process = told[which]
        ours, others = process["origins"][:4], process["origins"][4:]
        assert [Path(file).parents[1] for file in ours] == [root] * 4
        assert all("site-packages" in file for file in others)
        assert (process["strict"], process["flags"]) == (0, [0, False, 0])
        assert process["own"] == "mine"  # a network of the user's still finds what it imports
        assert process["variables"] == ["tensorflow", "kept"]
    assert told["spawned"]["parent"] == told["process"]
    # However long the name of the temporary folder is.
    assert (told["forked"]["parent"] != told["process"]) == processes._FORKS


def test_the_command_does_not_mind(hostile: dict[str, str], tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images")
    hostile |= {"HOME": str(tmp_path), "TREINO_IMAGE_SIZE": "8"}
    done = subprocess.run(
        [TREINO, "data", "--data", images, "--json"],
        cwd=images,
        env=hostile,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["input_shape"][:2] == [8, 8]
    assert "Traceback" not in done.stderr


def test_help_is_told_with_its_texts_where_python_leaves_them_out(hostile: dict[str, str]) -> None:
    ordinary = hostile.copy()
    for name in [name for name in ordinary if name.startswith("PYTHON")]:
        del ordinary[name]
    helps = [
        subprocess.run([TREINO, "--help"], env=env, capture_output=True, text=True, check=True)
        for env in (hostile, ordinary)
    ]
    assert helps[0].stdout == helps[1].stdout
    assert "Run a study" in helps[0].stdout
