"""Classifying with a handed-over model: what comes out, and what is said of what cannot."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from data.decode import decode
from models.own_network import load
from models.own_trial import given
from search.cli.app import main
from search.errors import SettingsError, TreinoError
from search.predict import Classifier, image_files
from tests.support.delivered import CLASSES, SPEC, deliver

TREINO = str(Path(sys.executable).with_name("treino"))


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with fresh weights."""
    return deliver(tmp_path_factory.mktemp("model") / "best of all")


def copied(folder: Path, to: Path, *names: str) -> Path:
    to.mkdir()
    for name in names:
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def images(folder: Path) -> list[Path]:
    """Of all sorts: large, grey, with transparency, named to make trouble."""
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (30, 20, 4), np.uint8)
    made = {
        "large.png": Image.fromarray(pixels[..., :3]),
        "grey.jpg": Image.fromarray(pixels[..., 0]),
        "clear.webp": Image.fromarray(pixels),
        "tab\tand\nline.bmp": Image.fromarray(pixels[::-1, ..., :3]),
    }
    for name, image in made.items():
        image.save(folder / name)
    return [folder / name for name in made]


def treino(*arguments: str | Path) -> tuple[str, str]:
    """What it prints in a process of its own, TensorFlow's greetings included."""
    done = subprocess.run(
        [TREINO, "predict", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow("imports TensorFlow in a process of its own")
def test_probabilities_are_those_of_the_model_on_the_images_as_data_sets_decode_them(
    handed_over: Path, tmp_path: Path
) -> None:
    files = images(tmp_path / "images")
    model = keras.saving.load_model(handed_over / "model.keras")
    expected = model.predict(np.stack([decode(file.read_bytes(), 8) for file in files]), verbose=0)
    out, err = treino(handed_over, *files, "--json")
    assert err == ""
    for image, file, row in zip(json.loads(out), files, expected, strict=True):
        assert image["image"] == str(file)
        assert image["fault"] is None
        told = {c["class"]: c["probability"] for c in image["classes"]}
        assert [told[name] for name in CLASSES] == pytest.approx(row.tolist(), abs=2e-6)
        assert list(told.values()) == sorted(told.values(), reverse=True)


def test_a_line_an_image_and_class_and_bad_images_do_not_keep_the_others_back(
    handed_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = images(tmp_path / "images")
    (tmp_path / "images" / "broken.png").write_bytes(files[0].read_bytes()[:100])
    named = (handed_over / "model.keras", tmp_path / "images", tmp_path / "none.png")
    with pytest.raises(SystemExit) as left:  # in this process, which has imported everything
        main(["predict", *map(str, named), "--top", "2"])
    assert left.value.code == 1
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert [len(row) for row in rows] == [3] * 8
    assert [Path(row[2]).name for row in rows[::2]] == [
        "clear.webp",
        "grey.jpg",
        "large.png",
        "tab\\tand\\nline.bmp",
    ]
    assert all(row[1] in CLASSES and 0 <= float(row[0]) <= 1 for row in rows)
    broken, missing = err.splitlines()
    assert broken.startswith("treino: ")
    assert "broken.png: unreadable" in broken
    assert "none.png: unreadable (No such file or directory)" in missing


def test_folders_are_gone_through_and_many_images_come_in_order(
    handed_over: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b/c"):
        (tmp_path / "many" / folder).mkdir(parents=True)
        for number in range(40):
            shade = Image.new("L", (8, 8), 6 * number)
            shade.save(tmp_path / "many" / folder / f"{number:02d}.png")
    (tmp_path / "many" / "a" / "notes.txt").write_text("no image")
    files = image_files([tmp_path / "many"])
    assert len(files) == 80
    classifier = Classifier(handed_over)
    found = list(classifier.classify(files))
    assert [image.path for image in found] == files
    for first, second in zip(found[:40], found[40:], strict=True):
        assert first.probabilities == pytest.approx(second.probabilities, abs=1e-6)


def test_what_is_no_file_is_not_read(handed_over: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (image,) = Classifier(handed_over).classify([tmp_path / "pipe.png"])
    assert image.fault == "not a regular file"


def test_paths_that_no_file_can_have_do_not_keep_the_others_back(
    handed_over: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    Image.new("L", (8, 8)).save(tmp_path / "good.gif")
    (tmp_path / "page.jpg").write_text("<!doctype html>")
    named = [tmp_path / name for name in ("loop.png", "x" * 300, "page.jpg", "nul\0", "good.gif")]
    *bad, good = Classifier(handed_over).classify(image_files(named))
    assert [("links" in i.fault, "long" in i.fault, "HTML" in i.fault) for i in bad[:3]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert bad[3].fault
    assert len(good.probabilities) == 3
    for path in named[:2]:
        with pytest.raises(TreinoError, match="no file "):
            Classifier(path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TreinoError, match="holds no images"):
        image_files([tmp_path])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "no spec.json beside .*: it has the classes"),
        ("{", "has no valid classes and input_shape"),
        ("[]", "has no valid classes and input_shape"),
        (json.dumps({"data": {"classes": CLASSES}}), "has no valid .*input_shape"),
        (json.dumps({"data": SPEC["data"] | {"classes": ["a", "b"]}}), "do not belong together"),
        (json.dumps({"data": SPEC["data"] | {"input_shape": [16, 16, 3]}}), "not belong together"),
    ],
)
def test_without_the_right_spec_there_are_no_classes(
    handed_over: Path, tmp_path: Path, spec: str | None, said: str
) -> None:
    folder = copied(handed_over, tmp_path / "moved", "model.keras")
    if spec is not None:
        (folder / "spec.json").write_text(spec)
    with pytest.raises(TreinoError, match=said):
        Classifier(folder)


def test_what_is_no_model_is_refused(handed_over: Path, tmp_path: Path) -> None:
    with pytest.raises(TreinoError, match=r"no model\.keras in .*: name a model\.keras"):
        Classifier(tmp_path)
    with pytest.raises(TreinoError, match=r"no file .*nowhere"):
        Classifier(tmp_path / "nowhere")
    with pytest.raises(TreinoError, match=r"expected a \.keras file"):
        Classifier(handed_over / "spec.json")
    folder = copied(handed_over, tmp_path / "damaged", "model.keras", "spec.json")
    whole = (folder / "model.keras").read_bytes()
    (folder / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TreinoError, match="could not be loaded; it is damaged"):
        Classifier(folder)


def test_code_in_a_model_is_not_run(handed_over: Path, tmp_path: Path) -> None:
    folder = copied(handed_over, tmp_path / "with code", "spec.json")
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(flat)).save(folder / "model.keras")
    with zipfile.ZipFile(folder / "model.keras") as file:
        assert b"__lambda__" in file.read("config.json")
    with pytest.raises(TreinoError, match="needs code of yours: name that with"):
        Classifier(folder)


MINE = """
import keras
@keras.saving.register_keras_serializable("predicted")
class Half(keras.layers.Layer):
    def call(self, x):
        return x / 2
def build(trial, shape, classes):
    flat, last = keras.layers.Flatten(), keras.layers.Dense(classes, activation="softmax")
    return keras.Sequential([keras.Input(shape), Half(), flat, last])
"""


def test_a_model_with_layers_of_ones_own_is_loaded_with_the_code_that_the_user_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = images(tmp_path / "images")
    (tmp_path / "net.py").write_text(MINE)
    space = f"{tmp_path / 'net.py'}:build"
    code = load(space)
    code.build(given({}), (8, 8, 3), 3).model.save(tmp_path / "model.keras")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({**SPEC, "model": {"digest": code.digest}}))
    with keras.saving.custom_object_scope({}):
        keras.saving.get_custom_objects().pop("predicted>Half")
        with pytest.raises(TreinoError, match=r"name that with --space net\.py:build"):
            Classifier(tmp_path)
        told = Classifier(tmp_path, space)
    assert told.remark == ""
    assert all(len(each.probabilities) == 3 for each in told.classify(files))
    spec.write_text(json.dumps({**SPEC, "model": {"digest": "0123"}}))
    with pytest.raises(SystemExit) as left:
        main(["predict", str(tmp_path), str(files[0]), "--space", space])
    assert not left.value.code
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err.startswith(f"treino: warning: {space} has changed since the model was trained (now")
    for wrong, said in (("documents", "expected your code"), (f"{space}er", "has no function")):
        with pytest.raises(SettingsError, match=said):
            Classifier(tmp_path, wrong)
