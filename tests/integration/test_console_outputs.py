"""Terminals that close, readers that leave, and outputs that are not there."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import TREINO

WORK = """
import sys
from search.console import outputs
outputs.outlive_terminal()
from search.console.display import Overall, make_display
print("begun", flush=True)
sys.stdin.readline()
with make_display() as display:
    for turn in range(100):
        display.job_started(0, f"trial {turn}", 10)
        display.overall(Overall(turn, 100))
        display.job_ended(0, f"trial {turn}: " + "complete " * 100)
print("done")
print("an error", file=sys.stderr)
open("worked", "w").close()
sys.exit(outputs.flushed(0))
"""
LISTING = """
import sys
from search.console import outputs
outputs.outlive_terminal()
print("begun", flush=True)
sys.stdin.readline()
print("a line")
sys.exit(outputs.flushed(0))
"""


def start(program: str, place: Path, out: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=out,
        cwd=place,
        start_new_session=True,
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_work_goes_on_when_nobody_sees_it_any_more(terminal: bool, tmp_path: Path) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = start(WORK, tmp_path, theirs)
    os.close(theirs)
    assert os.read(ours, 5) == b"begun"
    os.close(ours)
    process.communicate(b"\n")
    assert process.returncode == 0
    assert (tmp_path / "worked").exists()


def test_a_listing_ends_with_its_reader_and_says_nothing(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTING],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=errors,
        )
    os.close(theirs)
    assert os.read(ours, 5) == b"begun"
    os.close(ours)
    process.communicate(b"\n")
    assert process.returncode == 141
    assert (tmp_path / "errors").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_work_goes_on_where_its_log_has_no_room(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(WORK.replace('print("begun", flush=True)', ""), tmp_path, full.fileno())
    process.communicate(b"\n")
    assert process.returncode == 0
    assert (tmp_path / "worked").exists()


def test_a_file_does_not_get_the_number_of_an_output_that_is_closed(tmp_path: Path) -> None:
    program = WORK.replace("sys.stdin.readline()", "file = open('opened', 'w')")
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, program],
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "worked").exists()
    assert (tmp_path / "opened").read_bytes() == b""


@pytest.mark.parametrize("arguments", [("--help",), ("data", "--data", "digits")])
def test_a_full_disk_behind_the_output_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("w") as output:
        done = subprocess.run(
            [TREINO, *arguments],
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "treino: cannot write to standard output: No space left on device\n"
