"""Real networks averaged: one file of stock layers that gives the average of its members."""

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from data import catalog
from data.dataset import Dataset
from models import own_classifier, own_network
from models.ensemble import combine
from models.evaluation import macro_auc
from models.latency import milliseconds
from models.network import build
from models.own_source import keras_settings_kept
from models.spec import Block, Dense, ModelSpec, OwnSpec, TrainingSpec
from models.training import classify, evaluate, fit
from search.errors import TrainingFailedError
from search.predict import Classifier
from search.workers import ensemble_process
from search.workers.ensemble_maker import serve
from search.workers.ensemble_process import Candidate, Combined, EnsembleOrder
from tests.support.trainings import NETWORK

OTHER = ModelSpec(blocks=(Block(filters=8, norm_first=True),), dense=Dense(units=0), input_side=12)
CUSTOM = """
import keras

@keras.saving.register_keras_serializable("mine")
class Shift(keras.layers.Layer):
    def call(self, x):
        return x - 0.5

def build(trial, shape, classes):
    return keras.Sequential([
        keras.layers.Rescaling(1 / 255), Shift(), keras.layers.Flatten(),
        keras.layers.Dense(classes, activation="softmax"),
    ])
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return catalog.load("digits", image_size=8, cache=tmp_path_factory.mktemp("cache")).dataset


@pytest.fixture(scope="module")
def candidates(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Candidate]:
    """Networks that prepare their images in different ways, of different arithmetic."""
    folder = tmp_path_factory.mktemp("candidates")
    training = TrainingSpec(batch_size=64, epochs=1, learning_rate=0.01)
    half = training.model_copy(update={"precision": "bfloat16"})
    trained = [
        fit(network, how, digits, seed=seed, checkpoint=folder / f"{seed}.npz").model
        for seed, (network, how) in enumerate([(NETWORK, half), (OTHER, training)])
    ]
    made = []
    for number, model in enumerate([*trained, grey(digits), build(OTHER, digits.input_shape, 10)]):
        made.append(Candidate(f"model {number}", folder / f"{number}.keras"))
        model.save(made[-1].file)
    return made


def grey(data: Dataset) -> keras.Model:
    """A user's own network in half precision, which makes its images grey and centres them."""
    with keras_settings_kept():
        keras.config.set_dtype_policy("mixed_float16")
        mean = keras.initializers.Constant(1 / 3)
        own = keras.Sequential(
            [
                layers.Conv2D(1, 1, use_bias=False, kernel_initializer=mean, trainable=False),
                layers.Rescaling(1 / 127.5, offset=-1),
                layers.Flatten(),
                layers.Dense(len(data.classes), activation="softmax"),
            ]
        )
        return own_classifier.network(own, data.input_shape, len(data.classes)).model


def served(candidates: list[Candidate], data: Dataset, order: EnsembleOrder) -> Iterator[object]:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        ours.send(order)
        serve(theirs, candidates, data.path)
        while ours.poll():
            yield ours.recv()


@pytest.mark.slow("trains two networks on the digits")
def test_the_saved_ensemble_gives_the_weighted_average_of_its_members(
    digits: Dataset, candidates: list[Candidate], tmp_path: Path
) -> None:
    counts, file = (2, 3, 1, 0), tmp_path / "model.keras"
    *of_members, done = served(candidates, digits, EnsembleOrder(1, counts, file, "val_auc"))
    given = [np.asarray(each) for each in of_members]
    assert isinstance(done, Combined)

    model = keras.saving.load_model(file, safe_mode=True)
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    members = [keras.saving.load_model(each.file, safe_mode=True) for each in candidates]
    shares = np.array(counts) / sum(counts)
    for split in (digits.validation, digits.test):
        expected = sum(
            share * classify(member, split) for share, member in zip(shares, members, strict=True)
        )
        np.testing.assert_allclose(classify(model, split), expected, rtol=0, atol=1e-6)
        raw = np.asarray(split.images)  # of whole numbers, in one call
        np.testing.assert_allclose(model.predict(raw, verbose=0), expected, rtol=0, atol=1e-6)

    labels = np.asarray(digits.validation.labels)
    for of_member, member in zip(given, members, strict=True):
        np.testing.assert_allclose(of_member, classify(member, digits.validation), atol=1e-6)
    single, ensemble = (evaluate(each, digits.validation) for each in (members[1], model))
    assert done.ensemble is not None
    assert done.test is not None
    assert (done.single.val_loss, done.single.val_accuracy) == pytest.approx(
        (single.loss, single.accuracy)
    )
    assert (done.ensemble.val_loss, done.ensemble.val_accuracy) == pytest.approx(
        (ensemble.loss, ensemble.accuracy)
    )
    assert done.single.watched == pytest.approx(macro_auc(given[1], labels))
    auc = macro_auc(classify(model, digits.validation), labels)
    assert done.ensemble.watched == pytest.approx(auc, abs=1e-4)
    assert done.test.accuracy == pytest.approx(evaluate(model, digits.test).accuracy)
    assert done.test.parameters == sum(members[n].count_params() for n in (0, 1, 2))
    spec = {"data": {"classes": digits.classes, "input_shape": digits.input_shape}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    Image.fromarray(raw[0]).save(tmp_path / "one.png")
    (one,) = Classifier(tmp_path).classify([tmp_path / "one.png"])
    assert one.probabilities == pytest.approx(expected[0], abs=1e-6)

    assert done.single.milliseconds > 0
    assert done.ensemble.milliseconds > 0


@pytest.mark.slow("loads the trained networks once more")
def test_without_members_only_the_single_model_is_measured(
    digits: Dataset, candidates: list[Candidate], tmp_path: Path
) -> None:
    *_, done = served(candidates[:2], digits, EnsembleOrder(1, (0, 0), tmp_path / "none.keras"))
    assert isinstance(done, Combined)
    assert (done.ensemble, done.test) == (None, None)
    assert not (tmp_path / "none.keras").exists()


def test_a_model_that_cannot_be_loaded_is_named_in_one_line(
    digits: Dataset, tmp_path: Path
) -> None:
    broken = Candidate("trial 3 retrained", tmp_path / "model.keras")
    broken.file.write_bytes(b"PK")
    (said,) = served([broken], digits, EnsembleOrder(0, (0,), tmp_path / "none.keras"))
    assert isinstance(said, str)
    assert said.startswith(f"trial 3 retrained: {broken.file} could not be loaded")
    assert "\n" not in said


@pytest.mark.slow("imports Keras in a process of its own, twice")
def test_networks_with_custom_layers_are_averaged_if_their_code_is_what_it_was(
    digits: Dataset, tmp_path: Path
) -> None:
    code = tmp_path / "net.py"
    code.write_text(CUSTOM)
    reference = f"{code}:build"
    spec = OwnSpec(code=reference, digest=own_network.load(reference).digest, params={})
    made = []
    for number in range(2):
        made.append(Candidate(f"model {number}", tmp_path / f"{number}.keras", spec))
        own_network.build(spec, digits.input_shape, 10).model.save(made[-1].file)
    order = EnsembleOrder(0, (1, 1), tmp_path / "model.keras")
    log = tmp_path / "ensemble.log"
    classified: list[int] = []
    with ensemble_process.started(made, digits.path, log, lambda: True) as process:
        given = process.probabilities(classified.append)
        assert given is not None
        assert classified == [1, 2]
        assert given.shape == (2, len(digits.validation.labels), 10)
        done = process.carry_out(order)
    assert done is not None
    assert order.file.is_file()
    code.write_text(CUSTOM.replace("0.5", "0.25"))
    with (
        ensemble_process.started(made, digits.path, log, lambda: True) as process,
        pytest.raises(TrainingFailedError, match=r"net.py:build is not what the models were made"),
    ):
        process.probabilities(classified.append)


@pytest.mark.slow("imports Keras in a process of its own")
def test_waiting_ends_when_asked_and_a_dead_process_is_told(
    digits: Dataset, tmp_path: Path
) -> None:
    candidate, log = Candidate("model", tmp_path / "0.keras"), tmp_path / "ensemble.log"
    build(NETWORK, digits.input_shape, 10).save(candidate.file)
    order = EnsembleOrder(0, (0,), tmp_path / "model.keras")
    with ensemble_process.started([candidate], digits.path, log, lambda: False) as process:
        assert process.probabilities(print) is None
    with ensemble_process.started([candidate], digits.path, log, lambda: True) as process:
        assert process.probabilities(print) is not None
        process._process.kill()
        process._process.join()
        with pytest.raises(TrainingFailedError, match=r"died \(exit code -9\); see .*ble.log"):
            process.carry_out(order)


@pytest.mark.parametrize(
    ("counts", "said"), [((), "at least one member"), ((1, 0), "a count of at least 1")]
)
def test_an_ensemble_has_members_that_count(counts: tuple[int, ...], said: str) -> None:
    members = [build(NETWORK, (8, 8, 3), 3) for _ in counts]
    with pytest.raises(ValueError, match=said):
        combine(members, counts)


def test_members_take_the_same_images_and_know_the_same_classes() -> None:
    with pytest.raises(ValueError, match="the same shapes"):
        combine([build(NETWORK, (8, 8, 3), classes) for classes in (3, 4)], (1, 1))


def test_time_per_image_is_of_calls_with_one_image_in_turn() -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def predict_on_batch(self, images: np.ndarray) -> None:
            seen.append((self.name, images.shape))

    times = milliseconds([Model("a"), Model("b")], np.zeros((8, 8, 3), np.uint8))
    assert all(0 < each < 1000 for each in times)
    assert {shape for _, shape in seen} == {(1, 8, 8, 3)}
    assert [name for name, _ in seen[-100:]] == ["a", "b"] * 50
