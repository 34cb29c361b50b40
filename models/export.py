"""Write a trained network in the format of another runtime, and run such a file in that runtime."""

import importlib.util
import json
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

DESCRIPTION = "model.json"  # in a LiteRT file's archive, and among a SavedModel's extra assets
_BATCH = "batch"


class ExportError(ModelError):
    """A network that cannot be written in a format, or not here; the message is one line."""


@dataclass(frozen=True)
class Description:
    """What a user of an exported file has to know, stored in the file.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        input_shape: Height, width and channels of an image.
        pixels: Lowest and highest value of a pixel. The channels are red, green and blue.
        model_sha256: Digest of the Keras file that it was made from.
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    model_sha256: str
    pixels: tuple[int, int] = (0, 255)

    def to_json(self) -> str:
        """The description as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def properties(self) -> dict[str, str]:
        """Each attribute as JSON text, for formats with properties."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}


class Format(ABC):
    """A format, with the runtime that its files are tested in.

    Attributes:
        title: Its name for people.
        file: Name of the file or folder that it is written to by default.
        folder: Whether that is a folder.
        packages: Packages that it needs besides treino's own, by the names they are imported by.
        python: The least version of Python for which there is a Keras that writes it.
    """

    title: str
    file: str
    folder = False
    packages: Sequence[str] = ()
    python: tuple[int, int] = (3, 10)

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    @abstractmethod
    def write(self, network: Any, path: Path, description: Description) -> None:
        """Write a network, as of ``for_inference``, that takes any number of float32 images.

        Raises:
            Exception: The converter's own, of any kind.
        """

    @abstractmethod
    def run(self, path: Path, batches: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[Any]]:
        """The probabilities of each batch, computed by the format's runtime from the file.

        Raises:
            Exception: The runtime's own, of any kind.
        """


class _Onnx(Format):
    title = "ONNX"
    file = "model.onnx"
    packages = ("tf2onnx", "onnx", "onnxruntime")

    def write(self, network: Any, path: Path, description: Description) -> None:
        import onnx

        network.export(str(path), format="onnx", verbose=False)
        model = onnx.load(str(path))
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
        onnx.helper.set_model_props(model, description.properties())
        onnx.save(model, str(path))

    def run(self, path: Path, batches: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[Any]]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        (images,) = session.get_inputs()
        return [session.run(None, {images.name: batch})[0] for batch in batches]


class _LiteRT(Format):
    title = "LiteRT"
    file = "model.tflite"
    python = (3, 11)

    def write(self, network: Any, path: Path, description: Description) -> None:
        import tensorflow as tf

        # Only operations that every LiteRT runtime has.
        builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        network.export(str(path), format="litert", verbose=False, target_spec=builtins)
        # Where LiteRT's metadata has its files: in a ZIP archive behind the model.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(DESCRIPTION, description.to_json())

    def run(self, path: Path, batches: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[Any]]:
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it will be a package of its own
            interpreter = tf.lite.Interpreter(model_path=str(path))
        images, probabilities = (
            details[0]["index"]
            for details in (interpreter.get_input_details(), interpreter.get_output_details())
        )
        results = []
        for batch in batches:
            interpreter.resize_tensor_input(images, batch.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(images, batch)
            interpreter.invoke()
            results.append(interpreter.get_tensor(probabilities))
        return results


class _SavedModel(Format):
    title = "SavedModel"
    file = "saved_model"
    folder = True

    def write(self, network: Any, path: Path, description: Description) -> None:
        network.export(str(path), format="tf_saved_model", verbose=False)
        extra = path / "assets.extra"  # TensorFlow's place for files that it does not read
        extra.mkdir()
        (extra / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")

    def run(self, path: Path, batches: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[Any]]:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # it owns the variables
        return [loaded.serve(batch).numpy() for batch in batches]


FORMATS: Mapping[str, Format] = {
    "onnx": _Onnx(),
    "litert": _LiteRT(),
    "saved-model": _SavedModel(),
}
"""The formats by name."""


def for_inference(network: Any) -> Any:
    """The network as a Keras model whose layers for training, such as augmentation, do nothing.

    Keras's exporters write some of them as they are in training.
    """
    import keras

    shape = network.input_shape[1:]
    images = keras.Input(shape, name="image")
    model = keras.Model(images, network(images, training=False))
    model(np.zeros((1, *shape), np.float32))  # Keras refuses to export what was never called
    return model
