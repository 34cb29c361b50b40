"""What a snapshot shows of a study that a search may be running on."""

from pathlib import Path

import pytest

from search.settings import Settings
from search.study.snapshot import look
from search.study.workspace import Workspace
from tests.support.studies import COMPLETE, RUNNING, add, begin


@pytest.mark.parametrize(
    ("pruner", "searching", "shown"),
    [
        ("promote", True, ["running", "paused"]),
        ("median", True, ["running", "running"]),
        ("promote", False, ["paused", "paused"]),
        ("median", False, ["paused", "paused"]),
    ],
)
def test_a_trial_is_paused_at_a_rung_or_without_a_search(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pruner: str,
    searching: bool,
    shown: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        study, space = begin(place, "images", pruner=pruner)
        add(place, study, space, [COMPLETE, COMPLETE, RUNNING, RUNNING])
        trials = look(place, study, searching=searching).trials
    assert [len(trial.history) for trial in trials] == [20, 20, 5, 7]  # rungs are 2, 7 and 20
    assert [trial.state for trial in trials[2:]] == shown
