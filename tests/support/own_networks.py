"""Networks as people write them, in a file."""

from pathlib import Path

from models.own_classifier import OwnNetwork
from models.own_network import load
from models.own_trial import given

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


def written(folder: Path, text: str) -> str:
    (folder / "net.py").write_text(HEAD + text)
    return f"{folder / 'net.py'}:build"


def one(folder: Path, text: str, classes: int = 3) -> OwnNetwork:
    return load(written(folder, text)).build(given({}), SHAPE, classes)
