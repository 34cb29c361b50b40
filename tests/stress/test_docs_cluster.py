"""The commands of docs/cluster.md do what the page says, in two terminals."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clusters import free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Try it on one machine")[2].partition("\n## ")[0]
BLOCKS = [block.splitlines() for block in re.findall(r"```sh\n(.*?)\n```", SECTION, re.DOTALL)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with what make needs of treino's."""
    for name in (".venv", "Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    yield tmp_path
    make(tmp_path, "make cluster-stop")


def as_installed(command: str) -> str:
    """A command of make's, with treino as it is installed."""
    ours = "make -o .venv/bin/installed -o .venv/bin/installed-cluster "
    return command.replace("make ", ours, 1)


def make(folder: Path, command: str) -> str:
    ended = subprocess.run(
        as_installed(command), shell=True, cwd=folder, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.timeout(1200)
def test_the_commands_of_the_page(folder: Path) -> None:
    port = str(free_port())
    first, second, last = ([line.replace("6379", port) for line in block] for block in BLOCKS)
    *starting, searching = first
    for command in starting:
        make(folder, command)
    output = folder / "output"
    with output.open("w") as to:
        search = subprocess.Popen(
            as_installed(searching),
            shell=True,
            cwd=folder,
            stdout=to,
            stderr=to,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 600
        while "epoch 1/" not in output.read_text():
            assert search.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        for command in second:
            make(folder, command)
        assert search.wait(timeout=900) == 0, output.read_text()
    finally:
        if search.poll() is None:
            os.killpg(search.pid, signal.SIGKILL)
            search.wait()
    said = output.read_text()
    assert "resuming from its last epoch" in said
    assert "2 complete" in said
    reported, stopped = (make(folder, command) for command in last)
    assert "report.html" in reported
    assert stopped.count("stopped the") == 2
