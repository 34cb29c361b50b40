"""Networks as people write them that cannot be trained: one line gives the cause."""

from pathlib import Path

import keras
import pytest
from packaging.version import Version

from models.own_errors import OwnCodeError
from search.spaces import probe
from tests.support.own_networks import SHAPE, one, written

REFUSED = {
    "images with transparency": (
        """
def build(trial):
    return keras.Sequential([keras.Input((28, 28, 4)), layers.Flatten(), layers.Dense(3)])
""",
        "the network takes 28x28x4 images, the images are 8x8x3: use input_shape",
    ),
    "vectors that are no images": (
        """
def build(trial):
    return keras.Sequential([keras.Input((700,)), layers.Dense(3)])
""",
        "the network takes 700 values, the images are 8x8x3: use input_shape and Flatten()",
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
        "Computed output size would be zero or negative"
        if Version(keras.__version__) >= Version("3.13")  # the one for Python 3.10 is older
        else "the network fails on images of 8x8x3: InvalidArgumentError: Conv2D: Incompatible",
    ),
    "a layer that fails on images alone": (
        """
class Sevens(layers.Layer):
    def call(self, x):
        return keras.ops.reshape(x, (-1, 7))
def build(trial, shape, classes):
    inputs, x = stem(shape)
    return head(inputs, Sevens()(x), classes)
""",
        "the network fails on images of 8x8x3: InvalidArgumentError: Sevens: ",
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


def test_one_output_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    text = "def build(trial, shape, classes):\n    return head(*stem(shape), 1, 'tanh')\n"
    with pytest.raises(
        OwnCodeError, match="one output is not a probability: end it with a sigmoid"
    ):
        one(tmp_path, text, 2)
    with pytest.raises(OwnCodeError, match=r"returns shape \(None, 1\), expected \(None, 3\)"):
        one(tmp_path, text, 3)


@pytest.mark.parametrize("value", ["kind=b", "skip=True", "width=9"])
def test_a_network_of_any_value_is_checked(tmp_path: Path, value: str) -> None:
    text = f"""
def build(trial, shape, classes):
    kind = trial.suggest_categorical("kind", ["a", "b"])
    skip = trial.suggest_categorical("skip", [False, True])
    width = trial.suggest_int("width", 1, 9)
    wrong = {value!r} in (f"kind={{kind}}", f"skip={{skip}}", f"width={{width}}")
    return head(*stem(shape), classes + wrong)
"""
    with pytest.raises(OwnCodeError, match=r"returns shape \(None, 4\), expected \(None, 3\)"):
        probe.tried(written(tmp_path, text), SHAPE, 3)
