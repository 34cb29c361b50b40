"""What options do to a training, and that it goes on as if never stopped with each."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest

from models.evaluation import OF_PREDICTIONS
from models.network import build
from models.spec import (
    Block,
    Dense,
    EarlyStopping,
    ModelSpec,
    ReduceLROnPlateau,
    TrainingSpec,
    learning_rate_at,
)
from models.training import Training, classify, evaluate, fit
from tests.support.pictures import sets
from tests.support.trainings import NETWORK, assert_the_same, broken_and_through, train

DEEPER = ModelSpec(
    blocks=(Block(filters=4, convolutions=2, norm_first=True, dropout=0.2),),
    pooling="average",
    dense=Dense(units=0, dropout=0.3, l2=0.001),
)
POOLED_FIRST = ModelSpec(
    blocks=(Block(filters=4, convolutions=2, norm_first=True, pool_first=True, dropout=0.1),),
    dense=Dense(units=8, dropout=0.1),
    mirror=True,
)
# What an epoch's figures and the state after it depend on: all optimisers, with momentum and
# decay; both schedules, whatever the plateaus; smoothing; precision; augmentation; a smaller last
# batch; normalisation before and after; pooling first and last; mirror images; dropout, L2; a
# figure of all predictions; weights of classes. Few ways to have them all once: none of them asks
# which the others are, but for the optimisers in half precision, which are all here.
OPTIONS = {
    "adamw-one-cycle": (
        DEEPER,
        {"schedule": "one-cycle", "weight_decay": 0.1, "label_smoothing": 0.1, "batch_size": 15}
        | {"monitor": "val_macro_f1"},
    ),
    "sgd-cosine": (
        NETWORK,
        {"optimizer": "sgd", "schedule": "cosine", "weight_decay": 0.01, "batch_size": 16}
        | {"monitor": "val_auc", "class_weights": "balanced"},
    ),
    "muon-one-cycle": (
        POOLED_FIRST,
        {"optimizer": "muon", "schedule": "one-cycle", "weight_decay": 0.01, "batch_size": 16}
        | {"monitor": "val_accuracy", "learning_rate": 0.02},
    ),
}


@dataclass(frozen=True)
class Optioned:
    training: TrainingSpec
    resumed: Training
    through: Training


@pytest.fixture(scope="module", params=[*OPTIONS.values()], ids=[*OPTIONS])
def optioned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Optioned:
    network, options = request.param
    training = TrainingSpec(
        epochs=5,
        precision="bfloat16",
        augment=True,
        early_stopping=EarlyStopping(patience=1),
        reduce_lr=ReduceLROnPlateau(patience=1),
        **options,
    )
    folder = tmp_path_factory.mktemp("optioned")
    return Optioned(training, *broken_and_through(folder, network, training, after=1))


STEP = TrainingSpec(batch_size=96, epochs=1, learning_rate=0.1, label_smoothing=0.9)
STEPPED = ModelSpec(blocks=(Block(filters=4),), dense=Dense(units=8))  # without dropout


@pytest.fixture(scope="module")
def one_step(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A single step, whose losses are those of the fresh network: nothing was learned yet."""
    return train(tmp_path_factory.mktemp("step") / "c.npz", STEPPED, STEP)


def fresh() -> keras.Model:
    """The network that the step begins with."""
    keras.utils.set_random_seed(3)
    return build(STEPPED, (8, 8, 3), 3)


@pytest.mark.slow("trains twice with every option, once for all tests that look at it")
def test_every_option_goes_on_from_a_checkpoint_as_if_never_stopped(optioned: Optioned) -> None:
    assert_the_same(optioned.resumed, optioned.through)


def test_a_scheduled_rate_is_what_the_spec_says_whatever_the_plateaus(optioned: Optioned) -> None:
    training, history = optioned.training, optioned.through.history
    steps = math.ceil(96 / training.batch_size)
    assert len(history) >= 4  # nothing stops it in the first half: epochs // 2 + 1, and patience
    for figures in history:
        expected = learning_rate_at(training, steps * (figures.epoch - 1), steps * 5)
        assert figures.learning_rate == pytest.approx(expected, rel=1e-5)


def test_the_best_epoch_is_that_of_the_watched_figure(optioned: Optioned) -> None:
    monitor = optioned.training.monitor
    values = [getattr(figures, monitor) for figures in optioned.through.history]
    assert all(0 <= value <= 1 for value in values)
    assert getattr(optioned.through.best, monitor) == max(values)


@pytest.mark.parametrize("monitor", ["val_macro_f1", "val_auc"])
def test_a_watched_figure_is_that_of_the_networks_predictions(
    monitor: Literal["val_macro_f1", "val_auc"], tmp_path: Path
) -> None:
    training = STEP.model_copy(update={"monitor": monitor, "epochs": 2})
    trained = train(tmp_path / "c.npz", STEPPED, training)
    probabilities = classify(trained.model, sets().validation)
    own = OF_PREDICTIONS[monitor](probabilities, sets().validation.labels)
    assert getattr(trained.best, monitor) == pytest.approx(own, abs=1e-3)
    other = {"val_macro_f1": "val_auc", "val_auc": "val_macro_f1"}[monitor]
    assert getattr(trained.best, other) is None


def test_rare_classes_weigh_more_in_the_training_loss_alone(tmp_path: Path) -> None:
    whole = sets()
    few = np.flatnonzero((whole.train.labels != 2) | (np.arange(96) % 4 == 0))
    images, labels = whole.train.images[few], whole.train.labels[few]
    data = replace(whole, train=replace(whole.train, images=images, labels=labels))
    training = TrainingSpec(batch_size=96, epochs=1, learning_rate=0.1, class_weights="balanced")
    figures = fit(STEPPED, training, data, seed=3, checkpoint=tmp_path / "c.npz").history[0]
    logs = np.log(keras.ops.convert_to_numpy(fresh()(images, training=True)))
    losses = -logs[np.arange(len(labels)), labels]
    counts = np.bincount(labels)
    assert counts[2] < counts[0]
    weights = (len(labels) / (3 * counts))[labels]
    assert figures.penalised_loss == pytest.approx((weights * losses).mean(), rel=1e-4)
    assert figures.loss == pytest.approx(losses.mean(), rel=1e-4)
    assert figures.penalised_val_loss == figures.val_loss


def test_the_losses_are_without_label_smoothing(one_step: Training) -> None:
    for figures in one_step.history:
        assert figures.penalised_loss != pytest.approx(figures.loss, rel=1e-2)
        assert figures.penalised_val_loss == figures.val_loss
    own = evaluate(one_step.model, sets().validation)
    assert one_step.best.val_loss == pytest.approx(own.loss, rel=1e-4)


def test_smoothed_labels_are_trained_on_as_the_formula_says(one_step: Training) -> None:
    images, labels = sets().train.images, sets().train.labels
    # As in training, normalised with the batch's own statistics.
    logs = np.log(keras.ops.convert_to_numpy(fresh()(images, training=True)))
    of_truth = -logs[np.arange(96), labels].mean()
    assert one_step.history[0].loss == pytest.approx(of_truth, rel=1e-4)
    expected = (1 - STEP.label_smoothing) * of_truth - STEP.label_smoothing * logs.mean()
    assert one_step.history[0].penalised_loss == pytest.approx(expected, rel=1e-4)


def test_weight_decay_shrinks_kernels_alone(tmp_path: Path, one_step: Training) -> None:
    """Against the same training without, after one step."""
    training = STEP.model_copy(update={"weight_decay": 0.5})
    decayed = train(tmp_path / "c.npz", STEPPED, training).model
    weights = zip(fresh().weights, one_step.model.weights, decayed.weights, strict=True)
    for was, one, other in weights:
        shrunk = 0.1 * 0.5 * was.numpy() if was.name == "kernel" else 0.0
        np.testing.assert_allclose(other.numpy(), one.numpy() - shrunk, rtol=1e-4, atol=1e-6)


def test_a_network_trained_in_bfloat16_is_handed_over_in_float32(
    tmp_path: Path, optioned: Optioned
) -> None:
    optioned.through.model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    again = evaluate(model, sets().validation)
    assert again.loss == pytest.approx(optioned.through.best.val_loss, rel=0.02)
