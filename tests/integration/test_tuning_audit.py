"""Pruned trials trained to their end, by real workers; and what is said of them."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.study.attributes import UNFIT
from search.study.trials import sample_of_pruned
from search.tuning.audit import Audited, told
from tests.support.commands import SMALL, small_place
from tests.support.databases import opened


def pruned(number: int, **attributes: object) -> optuna.trial.FrozenTrial:
    trial = create_trial(state=TrialState.PRUNED, user_attrs=attributes)
    trial.number = number
    return trial


def test_the_sample_is_of_fit_pruned_trials_and_the_same_each_time() -> None:
    trials = [pruned(n) for n in range(20)]
    trials += [pruned(20, **{UNFIT: True}), create_trial(value=1.0)]
    drawn = [trial.number for trial in sample_of_pruned(trials, 6, 0)]
    assert len(set(drawn)) == 6
    assert max(drawn) < 20
    assert drawn == [trial.number for trial in sample_of_pruned(trials, 6, 0)]
    assert drawn != [trial.number for trial in sample_of_pruned(trials, 6, 1)]
    assert sample_of_pruned(trials, 0, 0) == []
    assert len(sample_of_pruned(trials, 99, 0)) == 20


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ((0.9, 0.8, 0.7), "0 of 3 pruned trials would have been better than val_loss 0.5000"),
        ((0.9, 0.4, 0.7), "1 of 3 pruned trials would have been better than val_loss 0.5000"),
        ((0.1,), "1 of 1 pruned trial would have been better than val_loss 0.5000"),
    ],
)
def test_what_is_said(after: tuple[float, ...], said: str) -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(value=0.5, intermediate_values={1: 0.5}))
    lines = told(study, [Audited(n, 2, 1.0, loss) for n, loss in enumerate(after)], "val_loss")
    assert lines[0].startswith(f"audit: {said}")
    assert len(lines) == 1 + len(after)
    # Clopper and Pearson: 1 - 0.05^(1/3) for none of three.
    expected = {0: "at most 63 %", 1: "at most 86 %"}
    bound = expected[sum(a < 0.5 for a in after)] if len(after) == 3 else "at most 100 %"
    assert bound in lines[0].replace("%", " %", 1)


def test_values_are_those_of_the_monitored_figure() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(value=0.1, intermediate_values={1: 0.1}))
    first, second = told(study, [Audited(3, 2, 0.4, 0.25)], "val_accuracy")
    assert "better than val_accuracy 0.9000, the best trial" in first
    assert second == "  trial 3: 0.6000 after 2 epochs, 0.7500 in full"


def test_a_search_that_pruned_nothing_has_nothing_to_audit() -> None:
    assert told(optuna.create_study(), [], "val_loss") == ["audit: no pruned trials to train"]


@pytest.mark.slow("a search of two trials, one of them trained on")
def test_an_audit_goes_on_from_where_a_trial_was_left(tmp_path: Path) -> None:
    place = small_place(tmp_path)
    out = place.search(
        *SMALL,
        *("--trials", "2", "--epochs", "6", "--workers", "1", "--keep", "0", "--audit", "1"),
    )
    assert "audit: " in out
    with opened(tmp_path / "var/treino.db", write=False) as storage:
        study = optuna.load_study(study_name="images", storage=storage)
        found = [Audited(**entry) for entry in study.user_attrs["audit"]]
        trials = study.get_trials()
    assert len(found) == 1
    log = (tmp_path / "var/images/logs/worker-0.log").read_text()
    for audited in found:
        trial = trials[audited.trial]
        assert trial.state is TrialState.PRUNED
        assert audited.epochs == len(trial.intermediate_values) == 2
        assert audited.after <= audited.before == min(trial.intermediate_values.values())
        run = f"audit-{audited.trial:05d}"
        epochs = [line for line in log.splitlines() if line.startswith(f"{run}: epoch")]
        assert f"{run}: epoch 1" not in epochs
        assert f"{run}: epoch 6 is saved" in epochs
        spec = json.loads((tmp_path / f"var/images/runs/{run}/spec.json").read_text())
        assert spec["training"]["epochs"] == 6
        assert not list((tmp_path / f"var/images/runs/{run}").glob("checkpoint*"))
