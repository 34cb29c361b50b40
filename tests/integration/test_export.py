"""Exports of a delivered model: what their runtimes compute, what they hold, what is refused."""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from keras import layers
from PIL import Image

from data.catalog import load
from data.decode import decode_file
from models.export import DESCRIPTION, FORMATS, ExportError
from search.cli.app import main
from search.delivered_model import DeliveredModel
from search.errors import TreinoError
from search.export import TOLERANCE, export, images_to_compare
from search.study.evaluation_record import EvaluationRecord, Wrong, _png
from tests.support.delivered import CLASSES, deliver
from tests.support.pictures import image_folder


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return deliver(tmp_path_factory.mktemp("model") / "best of all")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images larger than the model's."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def network_with(layer: keras.Layer) -> keras.Model:
    """From images of 8 pixels to three classes, through a layer."""
    inputs = keras.Input((8, 8, 3))
    inner = layers.Flatten()(layer(layers.Rescaling(1 / 255)(inputs)))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(inner))


def as_float(folder: Path) -> npt.NDArray[np.float32]:
    files = sorted(folder.iterdir())
    return np.stack([decode_file(file, 8) for file in files]).astype(np.float32)


def described(name: str, path: Path) -> dict[str, object]:
    """What a file says of itself, read with its format's own tools."""
    if name == "onnx":
        held = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
        return {key: json.loads(value) for key, value in held.items()}
    if name == "litert":
        with zipfile.ZipFile(path) as archive:
            held = json.loads(archive.read(DESCRIPTION))
    else:
        held = json.loads((path / "assets.extra" / DESCRIPTION).read_text())
    assert isinstance(held, dict)
    return held


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_computes_what_keras_does_and_says_what_it_is(
    name: str, delivered: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["export", str(delivered), "--to", name, "--images", str(images), "--json"])
    out, err = capsys.readouterr()
    if sys.version_info < FORMATS[name].python:
        assert (left.value.code, err.count("\n")) == (1, 1)
        assert f"--to {name} needs Python 3.11 or later" in err
        return
    assert (left.value.code, err) == (0, "")
    told = json.loads(out)
    path = Path(told["path"])
    assert path == delivered / "exported" / FORMATS[name].file
    assert (told["images"], told["difference"] <= TOLERANCE) == (5, True)

    pixels = as_float(images)
    model = keras.saving.load_model(delivered / "model.keras")
    expected = model.predict(pixels, verbose=0)
    for batch in (pixels[:3], pixels):  # of any size
        (found,) = FORMATS[name].run(path, [batch])
        assert found == pytest.approx(expected[: len(batch)], abs=TOLERANCE)
    assert described(name, path) == {
        "classes": CLASSES,
        "input_shape": [8, 8, 3],
        "pixels": [0, 255],
        "model_sha256": hashlib.sha256((delivered / "model.keras").read_bytes()).hexdigest(),
    }
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_layers_that_are_random_in_training_are_still(tmp_path: Path, images: Path) -> None:
    folder = deliver(tmp_path / "best", network_with(layers.RandomRotation(0.2)))
    made = export(DeliveredModel.load(folder), "saved-model", images=[images])
    assert made.difference <= TOLERANCE


@pytest.mark.parametrize(
    ("interpolation", "said"),
    [
        ("area", "the ONNX file is not what the model is: probabilities differ by up to 0"),
        ("lanczos5", r"this network cannot be written as ONNX \(InvalidGraph: "),
    ],
)
def test_what_a_format_cannot_express_is_refused_and_nothing_is_left(
    interpolation: str, said: str, tmp_path: Path, images: Path
) -> None:
    resize = layers.Resizing(3, 3, interpolation=interpolation)
    folder = deliver(tmp_path / "best", network_with(resize))
    (folder / "exported").mkdir()
    (folder / "exported" / "model.onnx").write_text("an earlier one")
    with pytest.raises(ExportError, match=said) as refused:
        export(DeliveredModel.load(folder), "onnx", images=[images])
    assert "\n" not in str(refused.value)
    (left,) = (folder / "exported").iterdir()
    assert left.read_text() == "an earlier one"


def test_a_missing_package_is_named(
    delivered: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tf2onnx", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"needs tf2onnx, onnx, which are not installed: in"):
        export(DeliveredModel.load(delivered), "onnx", tmp_path / "x.onnx", [images])
    assert not (tmp_path / "x.onnx").exists()


def test_an_unknown_format_and_an_existing_file_are_refused(
    delivered: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*options: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["export", str(delivered), *options])
        assert left.value.code in (1, 2)
        return capsys.readouterr().err

    assert "--to 'torch': expected onnx or litert or saved-model" in told("--to", "torch")
    kept = images / "0.png"
    assert "exists: remove it" in told("--to", "onnx", "--out", str(kept))
    with Image.open(kept) as image:
        assert image.size == (30, 20)


def test_files_are_compared_on_the_models_test_images(tmp_path: Path) -> None:
    data = load(str(image_folder(tmp_path / "images")), image_size=8).dataset
    model = DeliveredModel(
        tmp_path / "model.keras", data.classes, data.input_shape, data.fingerprint, None
    )
    images = images_to_compare(model)
    assert len(images) == len(data.test.labels)
    assert np.array_equal(images, data.test.images)

    elsewhere = DeliveredModel(model.file, data.classes, data.input_shape, "f00", None)
    with pytest.raises(TreinoError, match="are not here: name images to compare"):
        images_to_compare(elsewhere)
    mistakes = tuple(Wrong(truth="a", predicted="b", probability=1, png=_png(i)) for i in images)
    record = EvaluationRecord(
        loss=1, accuracy=0, classes=("a", "b"), confusion=((0, 1), (0, 0)), mistakes=mistakes
    )
    model.files.tested.write_text(record.to_json())
    assert np.array_equal(images_to_compare(elsewhere), images)
