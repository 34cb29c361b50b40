"""Figures of predictions, against scikit-learn's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

from models.evaluation import macro_auc, macro_f1, per_class
from models.history import (
    MAXIMISED,
    EpochFigures,
    best_epoch,
    objective,
    objective_name,
    to_csv,
    told_figures,
    told_objective,
)


def predictions(seed: int, images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (images, classes), some of them equal, and labels of all classes."""
    random = np.random.default_rng(seed)
    scores = random.integers(1, 6, (images, classes)).astype(np.float64)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, images - classes)])
    return scores / scores.sum(axis=1, keepdims=True), labels.astype(np.int32)


@given(st.integers(0, 2**31), st.integers(8, 60), st.integers(2, 5))
def test_they_are_those_of_scikit_learn(seed: int, images: int, classes: int) -> None:
    probabilities, labels = predictions(seed, images, classes)
    said = probabilities.argmax(axis=1)
    every = list(range(classes))
    expected = f1_score(labels, said, labels=every, average="macro", zero_division=0)
    assert macro_f1(probabilities, labels) == pytest.approx(expected)
    areas = [roc_auc_score(labels == number, probabilities[:, number]) for number in every]
    assert macro_auc(probabilities, labels) == pytest.approx(np.mean(areas))
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, said), 1)
    theirs = precision_recall_fscore_support(labels, said, labels=every, zero_division=np.nan)
    for number, ours in enumerate(per_class(confusion)):
        precision, recall, f1, images_of_class = (column[number] for column in theirs)
        assert ours.images == images_of_class
        assert ours.precision == pytest.approx(precision, nan_ok=True)
        assert ours.recall == pytest.approx(recall)
        assert ours.f1 == pytest.approx(f1)


def test_classes_without_images_are_left_out() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0]])
    labels = np.array([0, 1, 1], np.int32)
    assert macro_f1(probabilities, labels) == pytest.approx(2 / 3)
    assert macro_auc(probabilities, labels) == 1.0
    assert math.isnan(macro_auc(probabilities, np.zeros(3, np.int32)))


def epoch(number: int, val_accuracy: float, val_auc: float | None = None) -> EpochFigures:
    return EpochFigures(number, 1, 0.5, 1 + number, val_accuracy, 1, 1, 0.1, 1, val_auc=val_auc)


def test_the_best_epoch_is_the_monitors() -> None:
    history = [epoch(1, 0.5, 0.9), epoch(2, 0.8, 0.7), epoch(3, 0.8, math.nan)]
    best = {name: best_epoch(history, name) for name in ("val_loss", "val_accuracy", "val_auc")}
    assert {name: of and of.epoch for name, of in best.items()} == {
        "val_loss": 1,
        "val_accuracy": 2,
        "val_auc": 1,
    }
    assert best_epoch(history, "val_macro_f1") is None  # it was not measured


@pytest.mark.parametrize("monitor", ["val_loss", *MAXIMISED])
def test_an_objective_is_to_be_minimised_and_told_as_its_figure(monitor: str) -> None:
    value = objective(epoch(1, 0.75, 0.75), monitor) if monitor != "val_macro_f1" else 0.25
    assert value == (2 if monitor == "val_loss" else 0.25)
    shown = "2.0000" if monitor == "val_loss" else "0.7500"
    assert told_objective(value, monitor) == f"{monitor} {shown}"
    assert objective_name(monitor) == ("val_loss" if monitor == "val_loss" else f"1 - {monitor}")


def test_what_was_not_measured_is_not_told() -> None:
    assert told_figures(epoch(1, 0.5)) == "val_loss 2.0000  val_accuracy 0.5000"
    assert told_figures(epoch(1, 0.5, 0.9)).endswith("  val_auc 0.9000")
    assert "val_auc" not in to_csv([epoch(1, 0.5)])
    assert to_csv([epoch(1, 0.5, 0.9)]).splitlines()[0].endswith(",seconds,val_auc")
