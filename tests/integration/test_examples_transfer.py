"""The example of transfer learning, without the weights that it would download."""

from pathlib import Path

import keras
import numpy as np
import pytest

from models.own_network import load
from models.own_trial import given
from models.spec import OwnSpec, TrainingSpec
from models.training import Training, fit
from tests.support.pictures import sets

EXAMPLE = Path(__file__).parents[2] / "examples" / "transfer.py"
PARAMS: dict[str, bool | int | float | str | None] = {
    "batch_size": 16,
    "dropout": 0.2,
    "learning_rate": 0.01,
    "frozen_steps": 3,
    "fine_tuning_rate": 0.1,
}
# The real backbones take a second to build and ten to trace.
SMALL = """
def small(input_shape, include_top, pooling, weights, name):
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    backbone = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name=name)
    if weights:
        backbone.load_weights(weights)
    return backbone
"""


def example(folder: Path, backbone: str, weights: str | None, more: str = "") -> str:
    """A copy of the example with another backbone and other weights."""
    text = EXAMPLE.read_text(encoding="utf-8")
    before, after = text.split("BACKBONE = keras.applications.MobileNetV3Small")
    after = after.replace('WEIGHTS = "imagenet"', f"WEIGHTS = {weights!r}")
    (folder / "mine.py").write_text(f"{before}{more}\nBACKBONE = {backbone}{after}")
    return f"{folder / 'mine.py'}:build"


def trained(folder: Path, weights: str | None, steps: int) -> Training:
    """A training of three epochs of three steps each."""
    code = example(folder, "small", weights, SMALL)
    params = {**PARAMS, "frozen_steps": steps}
    spec = OwnSpec(code=code, digest=load(code).digest, params=params)
    training = TrainingSpec(batch_size=16, epochs=3)
    return fit(spec, training, sets(), seed=3, checkpoint=folder / f"{steps}.npz")


def of_backbone(model: keras.Model) -> list[np.ndarray]:
    (backbone,) = (layer for layer in model._flatten_layers() if layer.name == "backbone")
    return [np.array(weight) for weight in backbone.get_weights()]


@pytest.mark.slow("trains twice")
def test_the_backbone_starts_with_given_weights_and_changes_only_once_it_is_thawed(
    tmp_path: Path,
) -> None:
    shape = sets().train.images.shape[1:]
    code = example(tmp_path, "small", None, SMALL)
    given_weights = tmp_path / "some.weights.h5"
    made = load(code).build(given(PARAMS), shape, 3).model
    (backbone,) = (layer for layer in made._flatten_layers() if layer.name == "backbone")
    backbone.save_weights(given_weights)
    before = of_backbone(made)

    frozen = trained(tmp_path, str(given_weights), 10_000).model
    for weight, same in zip(before, of_backbone(frozen), strict=True):
        np.testing.assert_array_equal(weight, same)
    thawed = of_backbone(trained(tmp_path, str(given_weights), 1).model)
    kernel, *_ = before
    assert not np.array_equal(kernel, thawed[0])
    for weight, same in zip(before[-4:], thawed[-4:], strict=True):  # of the normalisation
        np.testing.assert_array_equal(weight, same)


def test_the_real_backbone_takes_the_images_as_they_are(tmp_path: Path) -> None:
    code = example(tmp_path, "keras.applications.MobileNetV3Small", None)
    network = load(code).build(given(PARAMS), (96, 96, 3), 3)
    assert network.scales
    assert network.remarks == ()
    assert type(network.optimizer) is keras.optimizers.Adam  # without weights, nothing is kept
