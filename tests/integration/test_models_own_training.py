"""What a user's file sets for its training holds for each of its trainings, and for no other."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.own_network import load
from models.spec import OwnSpec, TrainingSpec
from models.training import Training, evaluate, fit
from tests.support.pictures import Pictures, Sets, sets

TRAINING = TrainingSpec(batch_size=16, epochs=2)
HEAD = "import keras\nfrom keras import layers\n"
BODY = """
def build(trial, shape, classes):
    inputs = keras.Input(shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Dropout(0.2)(layers.Dense(6, activation="relu"{more})(x))
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax"{last})(x))
    {compiled}
    return model
"""


def written(
    folder: Path, *, top: str = "", compiled: str = "", more: str = "", last: str = ""
) -> OwnSpec:
    text = HEAD + top + BODY.format(compiled=compiled or "pass", more=more, last=last)
    (folder / "net.py").write_text(text)
    code = load(f"{folder / 'net.py'}:build")
    return OwnSpec(code=code.reference, digest=code.digest, params={})


class Copy(keras.callbacks.Callback):
    """Copies the checkpoint after the first epoch: what a training broken off there leaves."""

    def __init__(self, checkpoint: Path, to: Path) -> None:
        super().__init__()
        self._checkpoint, self._to = checkpoint, to

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 0:
            shutil.copy(self._checkpoint, self._to)


def trained(spec: OwnSpec, checkpoint: Path, **more: Any) -> Training:
    keras.backend.clear_session()  # as a worker does between two jobs
    return fit(spec, TRAINING, sets(), seed=5, checkpoint=checkpoint, **more)


def curve(training: Training) -> list[tuple[float, ...]]:
    return [(e.loss, e.val_loss, e.penalised_loss, e.learning_rate) for e in training.history]


OPTIMISER_TOP = """
class Slow(keras.optimizers.SGD):
    def __init__(self, rate):
        super().__init__(learning_rate=rate, momentum=0.9, weight_decay=0.1, clipnorm=1.0)
class Falling(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))
def optimizer():
    made = Slow(Falling())
    made.exclude_from_weight_decay(var_names=["bias"])
    return made
"""
HALF = "keras.mixed_precision.set_global_policy('mixed_float16')\n"
AVERAGED = "keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)"
CASES = {
    "half precision, with averages of the weights": {
        "top": HALF,
        "compiled": f"model.compile({AVERAGED}, 'sparse_categorical_crossentropy')",
    },
    "half precision, not compiled, and what layers add": {
        "top": HALF,
        "last": ", dtype='float32'",
        "more": ", activity_regularizer=keras.regularizers.L2(0.01)",  # L1 fails in Keras 3.12
    },
    "an optimiser and a rate of its own, and what layers add": {
        "top": OPTIMISER_TOP,
        "compiled": "model.compile(optimizer(), 'categorical_crossentropy')",
        "more": ", activity_regularizer=keras.regularizers.L1(0.01)",
    },
}


# A training costs seconds: those that several tests look at are made once.


@dataclass(frozen=True)
class Case:
    adds: bool
    through: Training
    resumed: Training


@pytest.fixture(scope="module", params=[*CASES.values()], ids=[*CASES])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A training that ran through, and one that went on where it was after an epoch."""
    folder = tmp_path_factory.mktemp("case")
    spec = written(folder, **request.param)
    path, copy = folder / "a.npz", folder / "b.npz"
    through = trained(spec, path, callbacks=[Copy(path, copy)])
    return Case("more" in request.param, through, trained(spec, copy))


@dataclass(frozen=True)
class Twice:
    first: Training
    second: Training
    seen: list[dict[str, Any]]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Twice:
    """Two trainings of a file that sets what Keras has once for all, and makes layers at its top.

    One of its layers and the optimiser are its own, one layer a module's beside it.
    """
    folder = tmp_path_factory.mktemp("twice")
    (folder / "parts.py").write_text(
        "from keras import layers\nDENSE = layers.Dense(4, activation='relu')\n"
    )
    text = """
from parts import DENSE
keras.config.set_dtype_policy('mixed_bfloat16')
keras.config.set_image_data_format('channels_first')
keras.config.set_epsilon(1e-4)
OUT = layers.Dense(3, activation="softmax", dtype="float32")
OPTIMIZER = keras.optimizers.Adam(0.01)
def build(trial, shape, classes):
    inputs = keras.Input(shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, OUT(layers.Dense(6)(DENSE(x))))
    model.compile(OPTIMIZER, "sparse_categorical_crossentropy")
    return model
"""
    (folder / "net.py").write_text(HEAD + text)
    code = load(f"{folder / 'net.py'}:build")
    spec = OwnSpec(code=code.reference, digest=code.digest, params={})
    seen: list[dict[str, Any]] = []

    def built(_network: keras.Model, own: Any) -> None:
        seen.append(dict(own.described, format=keras.config.image_data_format()))

    first, second = (trained(spec, folder / f"{number}.npz", built=built) for number in range(2))
    return Twice(first, second, seen)


@dataclass(frozen=True)
class Told:
    training: Training
    own: dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A training with smoothed labels, and what is told of it."""
    folder = tmp_path_factory.mktemp("told")
    seen: list[Any] = []
    loss = "keras.losses.CategoricalCrossentropy(label_smoothing=0.3)"
    top = """
@keras.saving.register_keras_serializable("mine")
def swish(x):
    return x * keras.ops.sigmoid(x)
"""
    spec = written(
        folder,
        top=top,
        more=", name='first', kernel_initializer='he_normal'",
        compiled=f"model.compile(keras.optimizers.AdamW(0.02, clipnorm=1.0), {loss})",
    )
    (folder / "net.py").write_text(
        (folder / "net.py").read_text().replace('activation="relu"', "activation=swish")
    )
    spec = OwnSpec(code=spec.code, digest=load(spec.code).digest, params={})
    training = trained(
        spec, folder / "a.npz", built=lambda _network, own: seen.append(own.described)
    )
    return Told(training, json.loads(json.dumps(seen[0])))


@pytest.mark.slow("trains twice, once for all tests that look at it")
def test_a_training_goes_on_exactly_and_ends_in_a_plain_model(tmp_path: Path, case: Case) -> None:
    resumed = case.resumed
    assert curve(resumed) == curve(case.through)
    for first, second in zip(
        case.through.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        assert np.array_equal(first, second)
    resumed.model.save(tmp_path / "model.keras")
    custom = dict(keras.saving.get_custom_objects())
    keras.saving.get_custom_objects().clear()  # as where nobody has run the user's file
    try:
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    finally:
        keras.saving.get_custom_objects().update(custom)
    data = sets()
    assert evaluate(loaded, data.validation).loss == pytest.approx(resumed.best.val_loss, rel=1e-3)
    assert (keras.config.dtype_policy().name, keras.config.floatx()) == ("float32", "float32")


def test_what_a_file_sets_holds_for_each_of_its_trainings_and_for_no_other(twice: Twice) -> None:
    assert curve(twice.first) == curve(twice.second)
    assert [(one["dtype_policy"], one["format"]) for one in twice.seen] == [
        ("mixed_bfloat16", "channels_first")
    ] * 2
    assert keras.config.dtype_policy().name == "float32"
    assert keras.config.image_data_format() == "channels_last"
    assert keras.config.epsilon() == 1e-7


def test_layers_at_the_top_of_a_file_start_anew_for_each_training(twice: Twice) -> None:
    assert curve(twice.first) == curve(twice.second)


def test_what_layers_add_is_trained_with_and_not_judged_by(case: Case) -> None:
    first = case.through.history[0]  # later, no unit may be active any more
    assert (first.penalised_loss > first.loss) == case.adds
    for epoch in case.through.history:
        assert epoch.penalised_loss >= epoch.loss
        assert epoch.penalised_val_loss == epoch.val_loss


def test_what_layers_add_changes_what_is_learned(tmp_path: Path) -> None:
    """What is so expensive is soon unlearned: activity, here."""
    images = sets().train.images.reshape(96, -1) / 255

    def activity(network: keras.Model) -> float:
        kernel, bias, *_ = network.get_weights()
        return float(np.maximum(images @ kernel + bias, 0).mean())

    spec = written(tmp_path, more=", activity_regularizer=keras.regularizers.L1(10.0)")
    before: list[float] = []
    after = trained(
        spec, tmp_path / "a.npz", built=lambda network, _own: before.append(activity(network))
    )
    assert activity(after.model) < 0.5 * before[0]


def test_smoothing_is_trained_with_and_not_judged_by(told: Told) -> None:
    smoothed = told.training
    assert all(e.penalised_loss > e.loss for e in smoothed.history)
    loss = evaluate(smoothed.model, sets().validation).loss
    assert smoothed.best.val_loss == pytest.approx(loss, rel=1e-4)


def test_weights_left_out_of_decay_stay_out_of_it(tmp_path: Path) -> None:
    compiled = (
        "made = keras.optimizers.SGD(1e-9, weight_decay=1e8)\n"
        "    made.exclude_from_weight_decay(var_names=['bias'])\n"
        "    model.compile(made, 'sparse_categorical_crossentropy')"
    )
    spec = written(tmp_path, compiled=compiled, more=", bias_initializer='ones'")
    before: list[np.ndarray] = []
    after = trained(
        spec,
        tmp_path / "a.npz",
        built=lambda network, _own: before.extend(network.get_weights()),
    ).model.get_weights()
    assert abs(after[0]).sum() < 0.9 * abs(before[0]).sum()
    assert after[1] == pytest.approx(before[1], rel=1e-3)


def test_one_sigmoid_for_two_classes_learns_as_two_outputs_do(tmp_path: Path) -> None:
    def two(split: Pictures) -> Pictures:
        return Pictures(split.images, np.minimum(split.labels, 1), split.parts)

    every = sets()
    data = Sets(two(every.train), two(every.validation), two(every.test), ("dark", "light"))
    text = """
def build(trial, shape, classes):
    model = keras.Sequential([layers.Flatten(), layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return model
"""
    (tmp_path / "net.py").write_text(HEAD + text)
    code = load(f"{tmp_path / 'net.py'}:build")
    spec = OwnSpec(code=code.reference, digest=code.digest, params={})
    training = fit(spec, TRAINING, data, seed=5, checkpoint=tmp_path / "a.npz")
    # Images as they are, 0 to 255, make a sigmoid 0 or 1: it learns from its mistakes all the same.
    assert training.history[-1].loss < training.history[0].loss
    result = evaluate(training.model, data.validation)
    assert result.accuracy == pytest.approx(training.best.val_accuracy)


def test_how_a_network_is_trained_and_loaded_can_be_told(told: Told) -> None:
    own = told.own
    assert own["optimizer"]["name"] == "AdamW"
    assert own["optimizer"]["config"]["clipnorm"] == 1.0
    assert own["optimizer"]["config"]["learning_rate"] == pytest.approx(0.02)
    assert own["loss"] == "CategoricalCrossentropy"
    assert own["label_smoothing"] == 0.3
    assert own["dtype_policy"] == "float32"
    assert own["custom_objects"] == ["mine>swish"]
