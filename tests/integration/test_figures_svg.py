"""Charts written by several processes: as by one, and what goes wrong in them is said here."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from matplotlib.figure import Figure

from search.errors import TreinoError
from search.figures import plots, svg
from storage.errors import StorageError


def chart(name: str, *, fitted: bool) -> svg.Chart:
    figure = plots.new_figure(3, 2, fitted=fitted)
    axes = figure.add_subplot()
    axes.scatter([1, 2, 3], [1, 4, 9], gid="points")
    axes.set_title(name, **plots.TITLE)
    axes.set_ylabel("日本")  # letters that the font lacks: no warning of matplotlib's is shown
    return svg.Chart(name, name, "", figure, {"points": [f"{name} {n}" for n in range(3)]})


def charts() -> list[list[svg.Chart]]:
    groups = [[("a", True), ("b", False)], [], [("c", False), ("d", True), ("e", False)]]
    return [[chart(name, fitted=fitted) for name, fitted in group] for group in groups]


def test_charts_are_the_same_whatever_number_of_processes_draws_them(tmp_path: Path) -> None:
    alone = svg.save_all(charts(), tmp_path / "alone", drawers=1)
    together = svg.save_all(charts(), tmp_path / "together", drawers=2)
    assert [[d for _, d in group] for group in together] == [
        [d for _, d in group] for group in alone
    ]
    assert [len(group) for group in alone] == [2, 0, 3]
    assert "<title>e 2</title>" in alone[2][2][1]
    files = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert files == sorted(f"{name}{end}" for name in "abcde" for end in (".png", ".svg"))
    for name in files:
        written = [(tmp_path / which / name).read_bytes() for which in ("alone", "together")]
        assert written[0] == written[1]


def test_a_tip_may_hold_any_character(tmp_path: Path) -> None:
    drawn = chart("a", fitted=False)
    tips = ["</title><script>", "\x00\x1b[31m\uffff", "\udcff & 日本\n👩"]
    svg.save(replace(drawn, tips={"points": tips}), tmp_path)
    root = ElementTree.parse(tmp_path / "a.svg").getroot()  # noqa: S314 - our own
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["</title><script>", r"\x00\x1b[31m\uffff", "\\udcff & 日本\n👩"]


@pytest.mark.parametrize("drawers", [1, 2])
def test_a_file_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, drawers: int) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="taken"):
        svg.save_all(charts(), tmp_path / "taken", drawers)


SLEEPER = """
import os, sys, time
from pathlib import Path
from matplotlib.figure import Figure
from search.figures import svg

class Sleeper(Figure):
    def savefig(self, *_, **__):
        print(os.getpid(), flush=True)
        time.sleep(600)

if __name__ == "__main__":
    svg.save_all([[svg.Chart("sleeper", "", "", Sleeper())]], Path(sys.argv[1]), 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")
def test_whoever_draws_leaves_when_the_report_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SLEEPER)
    command = [sys.executable, str(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as report:
        assert report.stdout is not None
        drawers = [psutil.Process(int(report.stdout.readline()))]
        drawers += [
            child for child in psutil.Process(report.pid).children() if child not in drawers
        ]
        report.kill()
    _, left = psutil.wait_procs(drawers, timeout=20)
    assert not left


class Deadly(Figure):
    """Takes the process with it that draws it."""

    def savefig(self, *_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def with_points(count: int) -> Figure:
    """A figure too large for a pipe."""
    figure = Figure()
    figure.subplots().scatter(np.arange(count), np.arange(count))
    return figure


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")
def test_a_process_that_is_killed_is_an_error_of_ours(tmp_path: Path) -> None:
    deadly = svg.Chart("deadly", "", "", Deadly())
    large = [svg.Chart(f"large {n}", "", "", with_points(200_000)) for n in range(4)]
    with pytest.raises(TreinoError, match="was killed"):
        svg.save_all([[deadly, *large], *charts()], tmp_path, drawers=2)
