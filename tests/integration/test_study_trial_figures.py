"""The figures of trials by name, as conditions and objectives use them."""

import math
from pathlib import Path

import pytest

from search.settings import Settings
from search.study.trial_figures import figures_of_trials
from search.study.trials import lowest
from search.study.workspace import Workspace
from tests.support.studies import COMPLETE, FAIL, PRUNED, add, begin


def test_figures_are_those_of_the_best_epoch_and_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        study, space = begin(place, "made up")
        add(place, study, space, [COMPLETE, PRUNED, FAIL, COMPLETE])
        figures = figures_of_trials(study, place.records, space)
        trials = study.get_trials()
    assert set(figures) == {0, 1, 3}
    losses = [lowest(trials[number]) for number in figures]
    assert losses == sorted(losses)
    for number, of_trial in figures.items():
        assert of_trial["val_loss"] == lowest(trials[number])
        assert of_trial["val_accuracy"] == pytest.approx(math.exp(-lowest(trials[number]) / 1.4))
        assert trials[number].params.items() <= of_trial.items()
        assert "val_auc" not in of_trial
    assert figures[0]["parameters"] == 922_314  # the documents' run 10
    assert figures[0]["operations"] == 15_569_920
