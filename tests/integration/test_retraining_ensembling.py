"""Retraining with an ensemble: what is trained, chosen, delivered and said."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data.dataset import Dataset
from search import protocol
from search.errors import TrainingFailedError
from search.reports.reproduce import retrain_command
from search.retraining import ensembling, retrain
from search.study.ensemble_record import EnsembleRecord
from search.workers.ensemble_process import Combined, EnsembleOrder, Measured
from tests.support.commands import (
    INTERRUPTED,
    Place,
    finished_search,
    made_once,
    read_until,
    retrained_search,
)
from tests.support.studies import dataset, model_row

EPOCHS = ("--epochs", "2")
ENSEMBLE = ("retrain-best", "--ensemble", *EPOCHS)
TWO = (*ENSEMBLE, "--top", "2")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with two retrained trials, then an ensemble of three, whose output is in a file."""
    two = retrained_search(tmp_path_factory)

    def ensemble(folder: Path) -> None:
        told = two.copy(folder).run(*ENSEMBLE)
        (folder / "told").write_text(told)

    return made_once(tmp_path_factory, "an ensemble", ensemble)


@pytest.fixture
def own(retrained: Place, tmp_path: Path) -> Place:
    """The same, for one test to go on with."""
    return retrained.copy(tmp_path / "own")


def best(place: Place) -> Path:
    return place.folder / "var/images/best"


def record_of(place: Place) -> EnsembleRecord:
    return EnsembleRecord.from_json((best(place) / "ensemble.json").read_bytes())


@pytest.mark.slow("trains three trials, once for all tests that look at them")
def test_three_trials_are_trained_and_averaged_unless_told_otherwise(retrained: Place) -> None:
    out = (retrained.folder / "told").read_text()
    assert out.count("already trained") == 2  # by the first command
    assert out.count(": started") == 1
    assert "ensemble: selecting from 3 models by validation loss" in out
    assert "ensemble: classified 6 validation images with 1 of 3 models" in out
    record = record_of(retrained)
    assert len(record.candidates) == 3
    assert all(heading in out for heading in ("val_loss", "ms/image", record.single.title))
    assert f"{record.delivered.title}: test accuracy " in out


@pytest.mark.slow("loads an ensemble in safe mode")
def test_what_is_delivered_is_a_model_like_any_other(retrained: Place) -> None:
    record = record_of(retrained)
    files = {path.name for path in best(retrained).iterdir()}
    beside = set() if record.delivered is record.ensemble else {"history.csv", "curves.png"}
    assert files == beside | {
        *("model.keras", "spec.json", "test.json", "ensemble.json", "retraining.json"),
        *("README.md", "confusion.png", "mistakes.png"),
    }
    run = retrained.folder / "var/images/runs" / record.delivered.run
    assert (best(retrained) / "model.keras").read_bytes() == (run / "model.keras").read_bytes()
    model = keras.saving.load_model(best(retrained) / "model.keras", safe_mode=True)
    assert model.count_params() == record.delivered.parameters
    told = json.loads(retrained.run("predict", str(best(retrained)), "images", "--json"))
    assert len(told) == 60
    for image in told:
        assert sum(each["probability"] for each in image["classes"]) == pytest.approx(1, abs=1e-4)
    card = (best(retrained) / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {record.delivered.title}, study images")
    assert f"| {record.single.title} | {record.single.val_loss:.4f} |" in card
    assert "is delivered" in card


@pytest.mark.slow("imports what commands need")
def test_the_same_command_again_makes_nothing_new(own: Place) -> None:
    told, beside = own.json(*ENSEMBLE)
    assert ": started" not in beside
    assert "ensemble: already made of the same models" in beside
    record = record_of(own)
    assert told["ensemble"] == record.model_dump(mode="json")
    assert told["run"] == record.delivered.run
    single = own.json("retrain-best", *EPOCHS)[0]
    assert (single["ensemble"], single["kind"]) == (None, "retrain")
    assert not (best(own) / "ensemble.json").exists()
    assert "best single model" not in (best(own) / "README.md").read_text(encoding="utf-8")


# In place of the process that averages, with results as a test wants them.


class Averaging:
    def __init__(self, truth: list[list[float]] | None, val_losses: tuple[float, float]) -> None:
        self.truth = truth
        self.val_losses = val_losses
        self.orders: list[EnsembleOrder] = []
        self.labels = np.zeros(0, np.int32)

    def probabilities(self, _: object) -> Any:
        if self.truth is None:
            return None
        labels = self.labels
        of_truth = [np.resize(row, len(labels)) for row in self.truth]
        others = [np.repeat((1 - row[:, None]) / 2, 3, axis=1) for row in of_truth]
        for row, chances in zip(of_truth, others, strict=True):
            chances[np.arange(len(labels)), labels] = row
        return np.array(others)

    def carry_out(self, order: EnsembleOrder) -> Combined:
        self.orders.append(order)
        single, ensemble = (Measured(loss, 0.5, 1.5) for loss in self.val_losses)
        if not any(order.counts):
            return Combined(single)
        order.file.parent.mkdir(parents=True, exist_ok=True)
        order.file.write_bytes(b"averaged")
        table = ((2, 0, 0), (0, 2, 0), (0, 1, 1))
        return Combined(single, ensemble, protocol.TestFigures(0.4, 5 / 6, table, 12_345))

    @contextmanager
    def started(self, _: object, data: Path, *others: object) -> Iterator["Averaging"]:
        self.labels = np.asarray(Dataset.open(data).validation.labels)
        yield self


def averaging(
    patch: pytest.MonkeyPatch, truth: list[list[float]] | None, val_losses: tuple[float, float]
) -> Averaging:
    process = Averaging(truth, val_losses)
    patch.setattr(ensembling, "started", process.started)
    return process


SPLIT = [[0.9, 0.9, 0.1], [0.1, 0.1, 0.9]]  # averages are better than either


def test_an_ensemble_of_lower_validation_loss_is_delivered(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = averaging(monkeypatch, SPLIT, (0.5, 0.4))
    out = own.run(*TWO)
    (order,) = process.orders
    assert order.counts[0] > order.counts[1] > 0
    assert "the ensemble is delivered: its validation loss is 0.4000, that of trial " in out
    assert "ensemble of 2 of 2 models, with weights: trial " in out
    assert "ensemble of 2 models, trials " in out
    assert "0.8333 (95 % interval 0.3588 to 0.9958, 6 images)" in out
    assert (best(own) / "model.keras").read_bytes() == b"averaged"
    spec = json.loads((best(own) / "spec.json").read_text())
    assert [each["count"] for each in spec["ensemble"]["members"]] == list(order.counts)
    assert spec["data"]["classes"] == ["dark", "grey", "light"]
    assert not (best(own) / "history.csv").exists()
    rows = json.loads(own.run("leaderboard", "--json"))
    assert ("ensemble", 12_345) in [(row["kind"], row["parameters"]) for row in rows]
    own.run("report")
    page = (own.folder / "var/images/report/report.html").read_text(encoding="utf-8")
    assert "--epochs 2 --top 2 --ensemble" in page
    assert "the ensemble is delivered" in page
    assert "12,345" in page
    assert "The delivered model is from" not in page  # the best trial is in it


def test_its_command_is_known_of_earlier_versions_even_if_a_training_failed() -> None:
    made = {"epochs": 5, "top": 3, "seeds": 2, "trials": [4, 7]}  # a third trial failed
    row = model_row("my birds", "run", "ensemble", "", 0.5, dataset())
    command = retrain_command(replace(row, spec=json.dumps({"ensemble": made})), None)
    assert command.endswith("--study 'my birds' --epochs 5 --top 3 --seeds 2 --ensemble")


def test_an_ensemble_of_higher_validation_loss_is_not(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    averaging(monkeypatch, SPLIT, (0.5, 0.5))
    out = own.run(*TWO)
    assert "the ensemble's validation loss, 0.5000, is not lower than 0.5000: trial " in out
    assert record_of(own).delivered is not record_of(own).ensemble
    assert (best(own) / "model.keras").read_bytes() != b"averaged"
    assert (best(own) / "history.csv").exists()


def test_where_no_average_is_better_the_single_model_is_delivered(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = averaging(monkeypatch, [[0.9, 0.9], [0.1, 0.1]], (0.5, 0.5))
    out = own.run(*TWO)
    assert process.orders[0].counts == (0, 0)
    assert "no average of the 2 models has a lower validation loss than the best of them" in out
    assert record_of(own).ensemble is None
    averaging(monkeypatch, SPLIT, (0.5, 0.4))
    assert "already made of the same models" in own.run(*TWO)


def test_ctrl_c_while_models_are_averaged_is_resumed(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = averaging(monkeypatch, SPLIT, (0.5, 0.4))

    def interrupted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(process, "probabilities", interrupted)
    said = own.run(*TWO, code=INTERRUPTED)
    assert "run the same command to resume" in said
    assert "test accuracy" not in said
    averaging(monkeypatch, SPLIT, (0.5, 0.4))
    assert "the ensemble is delivered" in own.run(*TWO)


def test_where_averaging_fails_the_single_model_is_delivered(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(best(own))
    process = averaging(monkeypatch, SPLIT, (0.5, 0.4))

    def failed(_: object) -> None:
        raise TrainingFailedError("ensemble: trial 1 retrained could not be loaded")

    monkeypatch.setattr(process, "probabilities", failed)
    said = own.run(*TWO, code=1)
    assert "could not be loaded; the best single model is in var/images/best" in said
    assert (best(own) / "model.keras").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--top", "1"), 2, "--ensemble: expected at least two models, and --top 1 trains one"),
        (("--top", "0"), 2, "--top"),
        (("--top", "3"), 1, "study 'images' has one trial to retrain: add --seeds 2"),
    ],
)
def test_one_model_is_no_ensemble(
    retrained: Place,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    orders: Callable[..., list[Any]] = retrain.orders_of_best
    monkeypatch.setattr(retrain, "orders_of_best", lambda *a, **more: orders(*a, **more)[:1])
    assert said in retrained.run(*ENSEMBLE, *arguments, code=code)


@pytest.mark.parametrize(("arguments", "trials"), [((), 3), (("--seeds", "2"), 1)])
def test_several_seeds_are_of_the_best_trial_unless_told_otherwise(
    retrained: Place, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], trials: int
) -> None:
    asked = []
    orders: Callable[..., list[Any]] = retrain.orders_of_best

    def first(*given: Any, **more: Any) -> list[Any]:
        asked.append(more["top"])
        return orders(*given, **more)[:1]

    monkeypatch.setattr(retrain, "orders_of_best", first)
    retrained.run(*ENSEMBLE, *arguments, code=1)
    assert asked == [trials]


@pytest.mark.slow("retrains in a process that is killed, then goes on")
def test_after_a_kill_only_what_is_missing_is_trained(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = finished_search(tmp_path_factory).copy(tmp_path / "place")
    process = place.start(*TWO, "--workers", "1")
    for _ in range(2):
        read_until(process, "retrained: started")
    process.kill()
    process.communicate(timeout=60)
    assert not best(place).exists()
    out = place.run(*TWO, "--workers", "1")
    assert out.count("already trained") == 1
    assert out.count(": started") == 1
    assert len(record_of(place).candidates) == 2
