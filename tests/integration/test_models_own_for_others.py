"""Networks written for KerasTuner and Optuna, with the code around them: each builds unchanged."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from models.own_classifier import network
from models.own_errors import OwnCodeError, OwnPrunedError
from models.own_network import load
from models.own_trial import given
from search.spaces import probe
from tests.support.own_networks import SHAPE, written

HYPERMODEL = """
import keras_tuner as kt
class Net(kt.HyperModel):
    def __init__(self, input_shape, num_classes, name=None):
        super().__init__(name)
        self.input_shape, self.num_classes = input_shape, num_classes
    def build(self, hp):
        inputs, x = stem(self.input_shape)
        x = layers.Dense(hp.Int("units", 4, 8, default=5))(x)
        return compiled(head(inputs, x, self.num_classes), "categorical_crossentropy")
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)
net = Net((8, 8, 3), num_classes=3)
"""
OTHERS = """
class Plain:
    def build(self, hp, num_classes=7):
        inputs, x = stem((8, 8, 3))
        return head(inputs, layers.Dense(hp.Int("units", 4, 8, default=5))(x), num_classes)
class Nets:
    def small(hp):
        return Plain().build(hp, 3)
def deep(hp, depth=2, *, n_classes, activation="relu"):
    inputs, x = stem((8, 8, 3))
    for _ in range(depth):
        x = layers.Dense(hp.Int("units", 4, 8, default=5), activation=activation)(x)
    return head(inputs, x, n_classes)
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Net", HYPERMODEL),
        ("Net.build", HYPERMODEL),
        ("net", HYPERMODEL),
        ("net.build", HYPERMODEL),
        ("Plain", OTHERS),
        ("Nets.small", OTHERS),
        ("deep", OTHERS),
    ],
)
def test_what_builds_is_found_by_its_name_and_gets_what_it_is_named_for(
    tmp_path: Path, name: str, text: str
) -> None:
    place = written(tmp_path, text).rpartition(":")[0]
    code, trial = load(f"{place}:{name}"), given({"units": 6})
    assert code.build(trial, SHAPE, 3).remarks == ()
    assert trial.params == {"units": 6}
    assert trial.defaults == {"units": 5}
    assert code.remark == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "class Net:\n    def __init__(self, size): ...\n    def build(self, hp): ...",
            "needs size",
        ),
        ("class Net:\n    size = 3", "has no function 'Net.build'"),
        ("class Net:\n    def build(self, hp, width): ...", "expected build(trial, input_shape"),
    ],
)
def test_what_cannot_be_called_is_told(tmp_path: Path, text: str, said: str) -> None:
    place = written(tmp_path, text).rpartition(":")[0]
    with pytest.raises(OwnCodeError) as caught:
        load(f"{place}:Net.build").build(given({}), SHAPE, 3)
    assert said in str(caught.value)


BUILD = """
import keras_tuner as kt
import optuna
import numpy as np
def build(hp):
    inputs, x = stem((8, 8, 3))
    return head(inputs, layers.Dense(hp.Int("units", 4, 8))(x), 3)
def objective(trial):
    raise AssertionError
"""


@pytest.mark.parametrize(
    "line",
    [
        "tuner = kt.RandomSearch(build, objective='val_accuracy', max_trials=3)",
        "optuna.create_study().optimize(objective, n_trials=3)",
        "build(kt.HyperParameters()).fit(np.zeros((4, 8, 8, 3)), np.zeros(4))",
    ],
)
def test_a_file_is_run_up_to_where_it_would_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"{BUILD}{line}\nraise AssertionError('it went on')\n"
    code, trial = load(written(tmp_path, text)), given({"units": 6})
    assert code.build(trial, SHAPE, 3).model.count_params() == 193 * 6 + 7 * 3
    assert line[:50] in code.remark
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]  # no folder of a tuner's


REFUSED = {
    "an objective with a builder": (
        BUILD.replace("def objective(trial):\n    raise AssertionError\n", "")
        + """
def build_optimizer(trial):
    return "adam"
def objective(trial):
    images, labels = download()
    model = build(trial)
    model.fit(images, labels, epochs=3)
    return model.evaluate(images, labels)[1]
""",
        (
            "objective trains (line 28), which treino does itself: name the function that builds "
            "the network: --space {place}:build"
        ),
    ),
    "an objective with a loop of its own in a helper": (
        """
def learn(model, optimizer, batches):
    for images, labels in batches:
        optimizer.apply_gradients(zip(gradients(model, images), model.variables))
def objective(trial):
    batches = download()
    model = keras.Sequential([layers.Dense(trial.suggest_int("n", 1, 3))])
    learn(model, "adam", batches)
""",
        (
            "objective trains (line 18), which treino does itself: move what builds the network to "
            "a function that returns the model, and name that"
        ),
    ),
    "what trains behind a name": (
        """
def objective(trial):
    model = keras.Sequential([layers.Flatten(), layers.Dense(3)])
    train = model.fit
    model.compile("adam", "mse")
    train(keras.ops.ones((2, 4)), keras.ops.ones((2, 3)))
    return model
""",
        "train(keras.ops.ones((2, 4)), keras.ops.ones((2, 3))): TrainsError: treino trains each",
    ),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_an_objective_is_refused_before_it_trains(tmp_path: Path, text: str, said: str) -> None:
    place = written(tmp_path, text).rpartition(":")[0]
    fit = keras.Model.fit
    with pytest.raises(OwnCodeError) as caught:
        load(f"{place}:objective").build(given({"units": 5}), SHAPE, 3)
    assert said.format(place=place) in str(caught.value)
    assert keras.Model.fit is fit


def test_a_package_that_is_missing_is_told_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(OwnCodeError) as caught:
        load(written(tmp_path, HYPERMODEL))
    line = str(caught.value)
    assert "in <module>: import keras_tuner as kt: ModuleNotFoundError" in line
    assert line.endswith(f"{sys.prefix}/bin/python -m pip install keras-tuner")


PRUNES = """
import optuna
import keras_tuner
def build(trial):
    kind = trial.suggest_categorical("kind", ["fits", "pruned", "failed", "no room"])
    trial.set_user_attr("is", kind)
    if kind == "pruned":
        raise optuna.TrialPruned("too wide")
    if kind == "failed":
        raise keras_tuner.errors.FailedTrialError("unlucky")
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 9 if kind == "no room" else 2)(inputs)
    return head(inputs, layers.Flatten()(x), 3)
"""


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Keras for Python 3.10 finds no room in training only"
)
def test_a_trial_that_the_code_prunes_is_told_apart_from_one_that_fails(tmp_path: Path) -> None:
    code = load(written(tmp_path, PRUNES))
    for kind, said in (
        ("pruned", "TrialPruned: too wide"),
        ("failed", "FailedTrialError: unlucky"),
        ("no room", "Computed output size would be zero or negative"),
    ):
        with pytest.raises(OwnPrunedError, match=rf"net.py:\d+ in build: .*{said}") as caught:
            code.build(given({"kind": kind}), SHAPE, 3)
        assert caught.value.attributes == {"is": kind}
    assert code.build(given({"kind": "fits"}), SHAPE, 3).attributes == {"is": "fits"}
    found = probe.tried(code.reference, SHAPE, 3)
    assert set(found.ranges) == {"kind"}
    assert any("trials may be pruned at once" in remark for remark in found.remarks)


def test_code_that_prunes_every_trial_is_refused(tmp_path: Path) -> None:
    text = "import optuna\ndef build(trial):\n    raise optuna.TrialPruned('never')\n"
    with pytest.raises(OwnCodeError, match="it has no network for any values, these the last"):
        probe.tried(written(tmp_path, text), SHAPE, 3)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((28, 28, 1), 784),
        ((28, 28), 784),
        ((784,), 784),
        ((64,), 64),
        ((192,), 192),
        ((12, 10, 3), 360),
        ((12, 10, 1), 120),
    ],
)
def test_images_are_converted_to_what_a_network_takes(
    tmp_path: Path, shape: tuple[int, ...], count: int
) -> None:
    flat = [] if len(shape) == 1 else [layers.Flatten()]
    theirs = keras.Sequential([keras.Input(shape), *flat, layers.Dense(3, activation="softmax")])
    own = network(theirs, SHAPE, 3)
    assert own.converted == "x".join(map(str, shape))
    assert own.model.count_params() == (count + 1) * 3  # a conversion has no weights
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE)).astype(np.float32)
    expected = np.asarray(own.model(images))
    own.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.allclose(loaded(images), expected, atol=1e-6)
    # One colour stays as it is, whatever the size: what is grey is a weighted mean.
    plain = np.full((1, *SHAPE), 100, np.float32)
    same = np.full((1, *shape), 100, np.float32)
    assert np.allclose(own.model(plain), theirs(same), atol=1e-3)


def test_a_network_of_dense_layers_without_an_input_gets_vectors() -> None:
    norm = layers.BatchNormalization()
    own = network(keras.Sequential([layers.Dense(4), norm, layers.Dense(3)]), SHAPE, 3)
    assert own.converted == "192"
    assert own.model.count_params() == 193 * 4 + 4 * 4 + 5 * 3


def test_training_images_are_there_for_what_asks_for_them(tmp_path: Path) -> None:
    text = """
def build(trial, input_shape, classes, images):
    norm = layers.Normalization()
    norm.adapt(images)
    inputs = keras.Input(input_shape)
    return head(inputs, layers.Flatten()(norm(inputs)), classes)
"""
    images = np.random.default_rng(1).integers(0, 256, (50, *SHAPE)).astype(np.float32)
    own = load(written(tmp_path, text)).build(given({}), SHAPE, 3, lambda: images)
    assert own.scales
    assert own.remarks == ()
    (norm,) = (v for v in own.model.variables if v.path.endswith("/mean"))
    assert np.asarray(norm) == pytest.approx(images.mean((0, 1, 2)), rel=1e-3)
