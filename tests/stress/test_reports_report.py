"""The report of a long search: what it takes of the processor and of the disk."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from search.settings import Settings
from search.study.workspace import Workspace
from tests.support import studies
from tests.support.studies import COMPLETE, FAIL, PRUNED

ROOT = Path(__file__).parents[2]


def test_two_hundred_trials_are_quick_and_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        study, space = studies.begin(place, "many")
        studies.add(place, study, space, [COMPLETE] * 60 + [PRUNED] * 120 + [FAIL] * 20)
        studies.hand_over(place, study, space)
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from search.cli.app import main; main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, ROOT, "report", "--study", "many"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, which is what it takes on an idle machine; a busy one makes it up to twice
    # that, and no test is to fail for it. Measured: docs/decisions/0012-report.md.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20
    folder = Path("var/many/report")
    assert (folder / "report.html").stat().st_size < 10e6
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
