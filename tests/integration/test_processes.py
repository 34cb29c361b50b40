"""Processes forked from a server that has imported TensorFlow."""

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from search import processes

RUN = """
import os, sys
from pathlib import Path
from search import processes

def work(told):
    ready = "search.workers.worker" in sys.modules
    import search.workers.worker, data.dataset
    same = search.workers.worker.Dataset is data.dataset.Dataset
    light = not {"sklearn", "matplotlib"} & sys.modules.keys()  # nor kept from being imported
    Path(told).write_text(f"{os.getppid()} {ready} {same} {light}")

if __name__ == "__main__":
    processes.preload()
    process = processes.start(work, sys.argv[1], name="test")
    process.join()
    print(os.getpid())
    sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not processes._FORKS, reason="processes are not forked here")
def test_a_server_shares_what_it_imported_wherever_it_is_started(tmp_path: Path) -> None:
    program, place = tmp_path / "program.py", tmp_path / "place"
    program.write_text(RUN)
    for name in ("data", "models", "search", "storage"):  # as people call their own folders
        (place / name).mkdir(parents=True)
    (place / "keras.py").write_text("raise SystemExit('the wrong keras')")
    done = subprocess.run(
        [sys.executable, program, tmp_path / "told"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    parent, *shared = (tmp_path / "told").read_text().split()
    assert shared == ["True", "True", "True"]
    assert parent != done.stdout.strip()  # it is the server's child, not ours


def test_a_start_leaves_environment_and_outputs_as_they_were(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = dict(os.environ)
    processes.preload()
    assert dict(os.environ) == before
    os.write(1, b"still here")
    os.write(2, b"and here")
    assert capfd.readouterr() == ("still here", "and here")


LOG = """
import os, resource, sys
from pathlib import Path
from search import processes

resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
processes.print_to(Path(sys.argv[1]), append=True)
for line in range(100):
    print(f"line {line}: \\u2192 \\udcff", flush=True)
    print("and on the other", file=sys.stderr, flush=True)
sys.exit(7)
"""


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, locale: str) -> None:
    (tmp_path / "file").write_text("")
    for log in (tmp_path / "logs" / "worker.log", tmp_path / "file" / "worker.log", tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", LOG, log],
            cwd=Path(processes.__file__).parents[1],
            env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    assert (tmp_path / "logs" / "worker.log").read_text(encoding="utf-8").startswith("line 0: →")


def wait_for_a_word(channel: Connection) -> None:
    channel.send("begun")
    channel.recv()
    channel.send("still here")


def test_signals_to_the_group_do_not_end_a_process(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = processes.start(wait_for_a_word, theirs, name="test", afresh=True)
    theirs.close()
    assert ours.recv() == "begun"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid or 0, number)
    ours.send("a word")
    assert ours.recv() == "still here"
    process.join()
    assert process.exitcode == 0


LEFT = """
import multiprocessing
from search import processes
from tests.integration.test_processes import wait_for_a_word

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    process = processes.start(wait_for_a_word, theirs, name="left", afresh=True)
    theirs.close()
    ours.recv()
    print(process.pid)
    raise SystemExit(3)
"""


def test_no_process_is_left_or_waited_for_at_the_end(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(LEFT)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, program],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert not psutil.pid_exists(int(done.stdout))
