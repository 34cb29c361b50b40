"""Networks as people write them: each is trained rightly, or refused by a line with its cause."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from models.own_errors import OwnCodeError
from models.own_network import OwnNetwork, load
from models.own_trial import given
from search.spaces import probe

SHAPE = (8, 8, 3)
HEAD = """
import keras
from keras import layers

def stem(shape):
    inputs = keras.Input(shape)
    return inputs, layers.Flatten()(layers.Rescaling(1 / 255)(inputs))

def head(inputs, x, units, activation="softmax"):
    return keras.Model(inputs, layers.Dense(units, activation=activation)(x))

def compiled(model, loss, optimizer="adam", **more):
    model.compile(optimizer=optimizer, loss=loss, **more)
    return model
"""
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
REFUSED = {
    "grey images": (
        """
def build(trial):
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(3)])
""",
        "the network takes 28x28x1 images, the images are 8x8x3: use input_shape",
    ),
    "vectors": (
        """
def build(trial):
    return keras.Sequential([keras.Input((784,)), layers.Dense(3)])
""",
        "the network takes 784 values, the images are 8x8x3: use input_shape and Flatten()",
    ),
    "another number of classes": (
        "def build(trial, shape, classes):\n    return head(*stem(shape), 7)\n",
        "returns shape (None, 7), expected (None, 3), one value for each class: use classes",
    ),
    "maps": (
        """
def build(trial, shape, classes):
    return keras.Sequential([layers.Conv2D(classes, 3)])
""",
        "expected (None, 3), one value for each class: flatten or pool before the last layer",
    ),
    "two outputs": (
        """
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return keras.Model(inputs, [layers.Dense(classes)(x), layers.Dense(classes)(x)])
""",
        "returns 2 outputs, expected (None, 3)",
    ),
    "two inputs": (
        """
def build(trial, shape, classes):
    first, x = stem(shape)
    second, y = stem(shape)
    return keras.Model([first, second], layers.Dense(classes)(layers.Add()([x, y])))
""",
        "the network takes 2 inputs, expected one: the images",
    ),
    "batches of one size": (
        """
def build(trial, shape, classes):
    inputs = keras.Input(batch_shape=(32, *shape))
    return head(inputs, layers.Flatten()(inputs), classes)
""",
        "takes batches of 32 only: leave the batch size out of its Input",
    ),
    "an unknown activation": (
        "def build(trial, shape, classes):\n    return head(*stem(shape), classes, 'mystery')\n",
        "Could not interpret activation function identifier: mystery",
    ),
    "an unknown optimiser": (
        """
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), "mse", "mystery")
""",
        "Could not interpret optimizer identifier: mystery",
    ),
    "no room for a convolution": (
        """
def build(trial, shape, classes):
    return keras.Sequential([layers.Conv2D(4, 9), layers.Flatten(), layers.Dense(classes)])
""",
        "Computed output size would be zero or negative",
    ),
    "an activation of its own": (
        """
def mine(x):
    return x
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return head(inputs, layers.Dense(4, activation=mine)(x), classes)
""",
        "Keras does not know the function 'mine': put @keras.saving.register_keras_serializable()",
    ),
    "a layer of its own": (
        """
class Mine(layers.Layer):
    def call(self, x):
        return x
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return head(inputs, Mine()(x), classes)
""",
        "Keras does not know the class 'Mine': put @keras.saving.register_keras_serializable()",
    ),
    "a model of its own without a config": (
        """
class Mine(keras.Model):
    def __init__(self, out):
        super().__init__()
        self.out = out
    def call(self, x):
        return self.out(layers.Flatten()(x))
def build(trial, shape, classes):
    return Mine(layers.Dense(classes))
""",
        "Mine takes arguments and has no get_config(): give it one",
    ),
    "a lambda layer": (
        """
def build(trial, shape, classes):
    return keras.Sequential([layers.Lambda(lambda x: x), layers.Flatten(), layers.Dense(classes)])
""",
        "it has a Lambda layer, which Keras does not load for safety's sake",
    ),
    "a lambda as activation": (
        """
def build(trial, shape, classes):
    return head(*stem(shape), classes, lambda x: x)
""",
        "it has a lambda, which Keras does not load for safety's sake",
    ),
    "a step of its own": (
        """
class Mine(keras.Model):
    def train_step(self, data):
        return super().train_step(data)
    def compute_loss(self, *all, **named):
        return 0.0
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return Mine(inputs, layers.Dense(classes)(x))
""",
        "Mine has its own train_step, compute_loss, which treino does not call",
    ),
    "a focal loss": (
        """
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), keras.losses.CategoricalFocalCrossentropy())
""",
        "compiled with the loss 'CategoricalFocalCrossentropy': expected a cross-entropy",
    ),
    "a loss of its own": (
        """
class Mine(keras.losses.SparseCategoricalCrossentropy):
    def call(self, y, p):
        return 2 * super().call(y, p)
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), Mine())
""",
        "compiled with the loss 'Mine': expected a cross-entropy",
    ),
    "a sum for a mean": (
        """
def build(trial, shape, classes):
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    return compiled(head(*stem(shape), classes), loss)
""",
        "with reduction='sum': expected the mean",
    ),
    "weights of losses": (
        """
def build(trial, shape, classes):
    model = head(*stem(shape), classes)
    return compiled(model, ["sparse_categorical_crossentropy"], loss_weights=[0.5])
""",
        "compiled with loss_weights=[0.5]: leave them out",
    ),
    "a binary loss for many": (
        """
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes, "sigmoid"), "binary_crossentropy")
""",
        "has 3 outputs and is compiled with binary_crossentropy: use sparse_categorical_cross",
    ),
    "a variable kept elsewhere": (
        """
import builtins
if not hasattr(builtins, "_kept_dense"):
    builtins._kept_dense = layers.Dense(3)
def build(trial, shape, classes):
    trial.suggest_int("n", 1, 2)
    inputs, x = stem(shape)
    return keras.Model(inputs, builtins._kept_dense(x))
""",
        "with one built before: create its layers in the function, not outside of it",
    ),
    "an optimiser whose state nobody would keep": (
        """
import tensorflow as tf
class Mine(keras.optimizers.SGD):
    def __init__(self):
        super().__init__(0.1)
        self.steps = tf.Variable(0.0)
def build(trial, shape, classes):
    return compiled(head(*stem(shape), classes), "categorical_crossentropy", Mine())
""",
        "the optimizer Mine has steps as a tf.Variable",
    ),
    "an error of its own in a layer": (
        """
@keras.saving.register_keras_serializable("written")
class Mine(layers.Layer):
    def call(self, x):
        return keras.ops.matmul(x, keras.ops.ones((5, 5)))
def build(trial, shape, classes):
    return keras.Sequential([layers.Flatten(), Mine(), layers.Dense(classes)])
""",
        "the network does not take images of 8x8x3: ValueError: Mine: ",
    ),
}


def written(folder: Path, text: str) -> str:
    (folder / "net.py").write_text(HEAD + text)
    return f"{folder / 'net.py'}:build"


def one(folder: Path, text: str, classes: int = 3) -> OwnNetwork:
    return load(written(folder, text)).build(given({}), SHAPE, classes)


@pytest.mark.parametrize("text", WORKS.values(), ids=WORKS)
def test_a_network_is_taken_as_it_was_written(tmp_path: Path, text: str) -> None:
    found = probe.tried(written(tmp_path, text), SHAPE, 3)
    assert found.scales
    assert found.remarks == ()


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_a_network_is_refused_by_its_cause(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OwnCodeError) as caught:
        probe.tried(written(tmp_path, text), SHAPE, 3)
    line = str(caught.value)
    assert said in line
    assert len(line.splitlines()) == 1
    assert len(line) < 700
    for noise in ("\x1b", " at 0x", "Arguments received", "config="):
        assert noise not in line


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


def test_one_output_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    text = "def build(trial, shape, classes):\n    return head(*stem(shape), 1, 'tanh')\n"
    with pytest.raises(
        OwnCodeError, match="one output is not a probability: end it with a sigmoid"
    ):
        one(tmp_path, text, 2)
    with pytest.raises(OwnCodeError, match=r"returns shape \(None, 1\), expected \(None, 3\)"):
        one(tmp_path, text, 3)


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
