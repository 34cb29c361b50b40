"""Retraining: trials with several seeds, compared; the best by validation is handed over."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial
from rich.console import Console
from scipy import stats

from search.errors import NothingToTrainError
from search.intervals import of_difference_of_means
from search.retraining import comparison, retrain
from search.scheduling.seeds import trial_seed
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import RECIPE
from storage.files import Layout, write_atomically
from storage.tables import ModelRow
from tests.support.commands import RETRAINED, finished_search, retrained_search
from tests.support.model_rows import ROW
from tests.support.recipes import recipe


def study_of(*losses: float | None) -> optuna.Study:
    """A study with a trial a loss; None is a trial that failed after a very good epoch."""
    study = optuna.create_study()
    study.set_user_attr(RECIPE, recipe(seed=7).stored())
    space = Documents(TrainingDefaults(epochs=3), 32)
    for seed, loss in enumerate(losses):
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
        trial = study.ask()
        space.suggest(trial)
        trial.report(9.0, 1)
        trial.report(0.01 if loss is None else loss, 2)
        state = optuna.trial.TrialState.FAIL if loss is None else optuna.trial.TrialState.PRUNED
        study.tell(trial, state=state)
    return study


def rows(losses: dict[int, list[float]]) -> list[ModelRow]:
    return [
        replace(ROW, trial=trial, run=f"{trial}-{n}", val_loss=loss, test_accuracy=1 - loss)
        for trial, values in losses.items()
        for n, loss in enumerate(values)
    ]


def trials(*losses: float) -> list[FrozenTrial]:
    return study_of(*losses).get_trials()


def test_the_best_trials_are_those_with_the_lowest_loss_failed_ones_left_out() -> None:
    study, space = (
        study_of(0.9, 0.5, None, 0.7, math.nan),
        Documents(TrainingDefaults(epochs=3), 32),
    )
    orders = retrain.orders_of_best(study, space, epochs=50, top=2, seeds=3)
    assert [order.trial for order in orders] == [1, 3, 1, 3, 1, 3]
    assert orders[0].seed == trial_seed(7, 1)
    assert len({order.seed for order in orders}) == 6
    assert {order.training.epochs for order in orders} == {50}
    assert orders[2].title == "trial 1 retrained, seed 2"
    assert orders[0].model == space.specs(study.get_trials()[1].params)[0]
    (only,) = retrain.orders_of_best(study, space, epochs=50)
    assert only == orders[0]
    everything = retrain.orders_of_best(study, space, epochs=50, top=9)
    assert [order.trial for order in everything] == [1, 3, 0, 4]


def test_without_a_finite_loss_there_is_nothing_to_retrain() -> None:
    with pytest.raises(NothingToTrainError, match="make search"):
        retrain.orders_of_best(study_of(None), Documents(TrainingDefaults(epochs=3), 32), epochs=5)


def test_validation_chooses_and_rank_flips_are_counted() -> None:
    found = rows({0: [0.50, 0.52], 1: [0.40, 0.44], 2: [0.45, 0.47]})
    # The best on the test images is another one.
    found[0] = replace(found[0], test_accuracy=0.99)
    report = comparison.compare(trials(0.6, 0.61, 0.62), found)
    assert [c.trial for c in report.configurations] == [1, 2, 0]
    assert [c.search_rank for c in report.configurations] == [2, 3, 1]
    assert [c.rank for c in report.configurations] == [1, 2, 3]
    assert (report.flips, report.pairs) == (2, 3)
    assert report.model.run == "1-0"
    first = report.configurations[0]
    assert first.val_loss.mean == pytest.approx(0.42)
    assert first.val_loss.deviation == pytest.approx(math.sqrt(2) * 0.02)
    assert (first.search_loss, first.search_epochs, first.seeds) == (0.61, 2, 2)
    assert report.lead == pytest.approx(0.04)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_welchs(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(0.5, 0.1, 4), random.normal(0.4, 0.02, 3)
    va, vb = a.var(ddof=1) / 4, b.var(ddof=1) / 3
    freedom = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
    low, high = a.mean() - b.mean() - half, a.mean() - b.mean() + half
    assert of_difference_of_means(a.tolist(), b.tolist()) == pytest.approx((low, high))
    assert of_difference_of_means([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5)
    assert of_difference_of_means([1.0], [0.5, 0.6]) is None


def test_whether_first_and_second_can_be_told_apart() -> None:
    clear = comparison.compare(trials(1, 2), rows({0: [0.40, 0.41, 0.42], 1: [0.6, 0.61, 0.62]}))
    assert clear.apart is True
    assert "trial 0 and trial 1 can be told apart: 0.2000 apart" in "\n".join(
        comparison.verdict(clear)
    )
    close = comparison.compare(trials(1, 2), rows({0: [0.40, 0.60], 1: [0.41, 0.61]}))
    assert close.apart is False
    assert "cannot be told apart" in "\n".join(comparison.verdict(close))
    single = comparison.compare(trials(1, 2), rows({0: [0.4], 1: [0.6]}))
    assert single.apart is None
    assert "one seed cannot show" in "\n".join(comparison.verdict(single))
    same = comparison.compare(trials(1, 2), rows({0: [0.4, 0.4], 1: [0.4, 0.4]}))
    assert same.apart is False
    alone = comparison.compare(trials(1), rows({0: [0.4]}))
    assert (alone.lead, alone.interval, comparison.verdict(alone)) == (None, None, [])


def test_what_failed_with_a_seed_comes_after_all_that_did_not() -> None:
    found = rows({0: [0.1], 1: [0.5, 0.5]})
    report = comparison.compare(trials(1, 2, 3), found, [0, 2, 2], ["trial 0: val_loss is nan"])
    assert [c.trial for c in report.configurations] == [1, 0]
    assert [c.failed for c in report.configurations] == [0, 1]
    assert comparison.verdict(report)[0] == "failed: trial 0: val_loss is nan"


def test_the_table_fits_into_80_columns() -> None:
    found = rows({0: [0.5, 0.6], 1: [0.1, 0.2]})
    console = Console(width=80, record=True)
    console.print(comparison.table(comparison.compare(trials(0.123456, 11.5), found)))
    lines = console.export_text().splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert "9.0000 (2)" in lines[1]
    assert "2 → 1" in lines[1]
    assert "0.1500 ± 0.0707" in lines[1]


@pytest.mark.slow("trains two retrained trials with a second seed each")
def test_two_trials_with_two_seeds_for_real(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    var = tmp_path / "place/var/images"
    place = retrained_search(tmp_path_factory).copy(tmp_path / "place")
    arguments = (*RETRAINED, "--seeds", "2")
    out = place.run(*arguments)
    assert out.count("already trained") == out.count(": started") == 2
    assert "2 trainings of up to " in out
    assert "rank flips between search and full length: " in out
    assert " told apart: " in out
    runs = list((var / "runs").glob("trial-*-retrained-*"))
    assert len(runs) == 4
    specs = [json.loads((run / "spec.json").read_text()) for run in runs]
    assert len({spec["seed"] for spec in specs}) == 4
    assert list(var.glob("runs/*-retrained-*/checkpoint*")) == []

    best = var / "best"
    by_content = {(run / "model.keras").read_bytes(): run for run in runs}
    chosen = by_content[(best / "model.keras").read_bytes()]
    for name in ("spec.json", "history.csv", "curves.png", "confusion.png"):
        assert (best / name).read_bytes() == (chosen / name).read_bytes()
    assert "Chosen by validation loss among these" in (best / "README.md").read_text("utf-8")

    again = place.run(*arguments)
    assert again.count("already trained") == 4
    assert ": started" not in again


def test_exports_stay_with_the_model_that_they_were_made_from(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    made, best = layout.run("birds", "made"), layout.best("birds")

    def delivered(model: bytes) -> list[str]:
        """What is left of the exports after a model was delivered."""
        write_atomically(made.model, model)
        retrain._hand_over(made, best)
        return [file.name for file in best.exports.glob("*")]

    assert delivered(b"first") == []
    write_atomically(best.exports / "model.onnx", "of the first")
    assert delivered(b"first") == ["model.onnx"]
    assert delivered(b"second") == []


def test_a_monitored_share_ranks_and_is_told() -> None:
    found = [
        replace(row, val_auc=auc)
        for row, auc in zip(rows({0: [0.1, 0.1], 1: [0.9, 0.9]}), [0.5, 0.6, 0.8, 0.9], strict=True)
    ]
    report = comparison.compare(trials(0.4, 0.3), found, monitor="val_auc")
    assert [c.trial for c in report.configurations] == [1, 0]
    assert report.model.val_auc == 0.9
    assert report.lead == pytest.approx(0.3)
    assert "apart in val_auc" in comparison.verdict(report)[-1]
    console = Console(width=80, record=True)
    console.print(comparison.table(report))
    heading, first, _ = console.export_text().splitlines()
    assert "val_auc" in heading
    assert "0.8500 ± 0.0707" in first
    assert all(len(line) <= 80 for line in (heading, first))


@pytest.mark.slow("trains a trial on two splits, and retrains it")
def test_the_best_trial_over_folds_is_delivered(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = finished_search(tmp_path_factory).copy(tmp_path / "place")
    arguments = ("retrain-best", "--folds", "2", "--top", "1", "--epochs", "1")
    out = place.run(*arguments)
    (trial,) = set(re.findall(r"trial (\d+), fold [12] of 2: started", out))
    said = re.search(rf"trial {trial} has the best mean val_loss over 2 folds: ([\d.]+) ± ", out)
    assert said is not None
    assert f"trial {trial} retrained: test accuracy " in out
    assert list((place.folder / "var/images").glob("runs/*-fold-*/checkpoint*")) == []
    again = place.run(*arguments)
    assert "2 folds already trained with the same settings" in again
    assert ": started" not in again
    (row,) = (
        each for each in json.loads(place.run("leaderboard", "--json")) if each["kind"] == "folds"
    )
    assert row["name"] == f"trial {trial}, 2 folds"
    assert row["val_spread"] >= 0
    assert row["val_loss"] == pytest.approx(float(said[1]), abs=1e-4)
    folder = place.folder / "var/images/report"
    place.run("report")
    assert f"trial {trial}, 2 folds" in (folder / "report.html").read_text("utf-8")
    many = place.run("retrain-best", "--folds", "100", code=2)
    assert "--folds 100: expected at most " in many
