"""A delivered model with fresh weights, for what uses one."""

import json
from pathlib import Path

import keras

from models.network import build
from models.spec import Block, Dense, ModelSpec

CLASSES = ["dark", "grey", "light"]
SPEC = {"data": {"classes": CLASSES, "input_shape": [8, 8, 3]}}


def deliver(folder: Path, network: keras.Model | None = None) -> Path:
    """A model with its spec in ``folder``: of images of 8 pixels, to three classes."""
    folder.mkdir()
    keras.utils.set_random_seed(3)
    spec = ModelSpec(blocks=(Block(filters=2),), dense=Dense(units=4), mirror=True)
    (network or build(spec, (8, 8, 3), 3)).save(folder / "model.keras")
    (folder / "spec.json").write_text(json.dumps(SPEC))
    return folder
