"""Networks as people write them: each is trained rightly."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from models.own_network import load
from models.own_trial import given
from search.spaces import probe
from tests.support.own_networks import HEAD, SHAPE, one, written

WORKS = {
    "sequential without an input": """
def build(trial, shape, classes):
    return keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(classes)])
""",
    "sequential as in KerasTuner's guide": """
def build(hp):
    model = keras.Sequential()
    model.add(layers.Flatten())
    model.add(layers.Rescaling(1 / 255))
    model.add(layers.Dense(3, activation="softmax"))
    return compiled(model, "sparse_categorical_crossentropy", metrics=["accuracy"])
""",
    "a class of its own made of a graph": """
class Mine(keras.Model):
    pass
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return Mine(inputs, layers.Dense(classes, activation="softmax")(x))
""",
    "a registered model with a call": """
@keras.saving.register_keras_serializable("written")
class Mine(keras.Model):
    def __init__(self, units=3, **more):
        super().__init__(**more)
        self.units = units
        self.scale, self.flat = layers.Rescaling(1 / 255), layers.Flatten()
        self.out = layers.Dense(units, activation="softmax")
    def call(self, x, training=False):
        return self.out(self.flat(self.scale(x)))
    def get_config(self):
        return {**super().get_config(), "units": self.units}
def build(trial, shape, classes):
    return Mine(classes)
""",
    "nested models": """
def build(trial, shape, classes):
    inner = keras.Sequential([layers.Conv2D(4, 3), layers.ReLU()])
    inputs = keras.Input(shape)
    x = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(inputs)))
    return head(inputs, x, classes)
""",
    "operators in place of layers": """
def build(trial, shape, classes):
    inputs = keras.Input(shape)
    return head(inputs, layers.Flatten()(keras.ops.cast(inputs, "float32") / 255.0), classes)
""",
    "one-hot labels with smoothing": """
def build(trial, shape, classes):
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1, name="mine")
    return compiled(head(*stem(shape), classes), loss)
""",
    "a loss in a list": """
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), [keras.losses.SparseCategoricalCrossentropy()])
""",
    "a loss by the output's name": """
def build(trial, shape, classes):
    model = head(*stem(shape), classes)
    return compiled(model, {model.output_names[0]: "categorical_crossentropy"})
""",
    "a loss as a function with its setting": """
from functools import partial
def build(trial, shape, classes):
    loss = partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    return compiled(head(*stem(shape), classes, None), loss)
""",
    "a loss of its own name and class": """
class Mine(keras.losses.SparseCategoricalCrossentropy):
    pass
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), Mine(name="my_loss"))
""",
    "an adapted normalisation": """
def build(trial, shape, classes):
    norm = layers.Normalization()
    norm.adapt(keras.ops.array([[[[0.0, 0.0, 0.0], [255.0, 255.0, 255.0]]]]))
    inputs = keras.Input(shape)
    return head(inputs, layers.Flatten()(norm(inputs)), classes)
""",
    "from_logits, and a softmax all the same": """
def build(trial, shape, classes):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compiled(head(*stem(shape), classes), loss)
""",
    "a session cleared in the function": """
def build(trial, shape, classes):
    keras.backend.clear_session()
    return head(*stem(shape), classes)
""",
    "what a layer adds to the loss": """
def build(trial, shape, classes):
    inputs, x = stem(shape)
    x = layers.Dense(4, activity_regularizer=keras.regularizers.L2(0.01))(x)
    return head(inputs, layers.ActivityRegularization(l1=0.01)(x), classes)
""",
    "a rate of its own making": """
class Falling(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))
def build(trial, shape, classes):
    model = head(*stem(shape), classes)
    return compiled(model, "sparse_categorical_crossentropy", keras.optimizers.SGD(Falling()))
""",
    "its layers made once at the top": """
DENSE = layers.Dense(3, activation="softmax")
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return keras.Model(inputs, DENSE(x))
""",
}


@pytest.mark.parametrize("text", WORKS.values(), ids=WORKS)
def test_a_network_is_taken_as_it_was_written(tmp_path: Path, text: str) -> None:
    found = probe.tried(written(tmp_path, text), SHAPE, 3)
    assert found.scales
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        (None, "sigmoid"),
        ("'binary_crossentropy'", "sigmoid"),
        ("keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)", None),
    ],
)
def test_one_output_for_two_classes_becomes_two_probabilities(
    tmp_path: Path, loss: str | None, activation: str | None
) -> None:
    text = f"""
def build(trial, shape, classes):
    model = head(*stem(shape), 1, {activation!r})
    return compiled(model, {loss}) if {loss} else model
"""
    own = one(tmp_path, text, 2)
    assert own.label_smoothing == (0.2 if loss and "smoothing" in loss else 0.0)
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE)).astype(np.float32)
    kernel, bias = own.model.get_weights()
    logits = (images / 255).reshape(5, -1) @ kernel[:, 0] + bias
    expected = 1 / (1 + np.exp(-logits))
    assert np.allclose(own.model(images), np.stack([1 - expected, expected], 1), atol=1e-5)
    own.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.allclose(loaded(images), own.model(images))


def test_what_is_only_nearly_right_is_remarked(tmp_path: Path) -> None:
    found = probe.tried(
        written(
            tmp_path,
            """
def build(trial, shape, classes):
    inputs = keras.Input(shape)
    x = layers.Flatten()(layers.Normalization()(inputs))
    return head(inputs, x, classes, "sigmoid")
""",
        ),
        SHAPE,
        3,
    )
    assert not found.scales
    assert any("Normalization was not adapted and so changes nothing" in r for r in found.remarks)
    assert any("as sigmoids do" in remark for remark in found.remarks)


def test_saturated_sigmoids_are_not_taken_for_a_softmax(tmp_path: Path) -> None:
    text = """
def build(trial, shape, classes):
    inputs = keras.Input(shape)
    kernel = keras.initializers.Constant([[0.01, -0.01, -0.01]] * 192)
    out = layers.Dense(classes, activation="sigmoid", kernel_initializer=kernel)
    return keras.Model(inputs, out(layers.Flatten()(inputs)))
"""
    found = probe.tried(written(tmp_path, text), SHAPE, 3)
    assert any("as sigmoids do" in remark for remark in found.remarks)


def test_modules_beside_the_file_come_before_ours_while_it_is_built(tmp_path: Path) -> None:
    import models.spec
    import search.errors

    (tmp_path / "models").mkdir()  # a package without __init__.py, as people have it
    (tmp_path / "models/blocks.py").write_text("UNITS = 4\n")
    (tmp_path / "data.py").write_text("import helper\nSCALE = 255\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "search.py").write_text("LATE = 3\n")
    text = """
from models.blocks import UNITS
import data
def build(trial, shape, classes):
    import search
    from storage.files import Layout  # ours, for want of another
    inputs, x = stem(shape)
    return head(inputs, layers.Dense(UNITS + search.LATE)(x), classes)
"""
    code = load(written(tmp_path, text))
    for _ in range(2):
        own = code.build(given({}), SHAPE, 3)
        assert own.model.count_params() == 193 * 7 + 8 * 3
    import data
    import search.errors as again

    assert again is search.errors
    assert Path(data.__file__).parent == Path(models.spec.__file__).parent.parent / "data"
    (tmp_path / "models/blocks.py").write_text("UNITS = 50\n")
    assert load(code.reference).digest != code.digest


def test_a_module_is_made_anew_for_each_network_as_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/parts.py").write_text(
        "from keras import layers\nDENSE = layers.Dense(3, activation='softmax')\n"
    )
    text = """
from mine.parts import DENSE
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return keras.Model(inputs, DENSE(x))
"""
    (tmp_path / "mine/net.py").write_text(HEAD + text)
    monkeypatch.chdir(tmp_path)
    code = load("mine.net:build")
    first, second = (code.build(given({}), SHAPE, 3).model for _ in range(2))
    assert not {id(v) for v in first.variables} & {id(v) for v in second.variables}
    assert json.dumps(code.digest)
