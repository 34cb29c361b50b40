"""Images a second: treino's workers beside plain ``model.fit`` and KerasTuner, in the same minutes.

All train the documents' run 10 (batch 32), with validation, on the same images; what counts is
the second epoch, from the end of the first: TensorFlow is warm then. They take turns, because
machines are noisy; the ratios say more than the rates. ``python -m benchmarks.throughput DATA``.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from data.cache import Cache
from data.catalog import load
from data.dataset import SPLITS, Dataset, Split
from models.documented import DOCUMENTED
from models.spec import count_operations, estimate_memory
from search.protocol import Done, EpochDone, Failed, Job, Resumed, Verdict
from search.workers.backends.base import Backend
from search.workers.backends.local import LocalBackend, Slot
from search.workers.hardware import bfloat16_pays, slots

RUN = DOCUMENTED["run-10"]
VALIDATION = 4  # training images to one for validation, where fewer are asked for: as in CIFAR-10

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"  # which treino sets, see models/__init__.py

# The peers, each in a process of its own, with TensorFlow's own choice of threads.
PEERS = """
import sys, time
from pathlib import Path
import keras
import numpy as np
from data.dataset import Dataset
# After keras: importing them first would turn oneDNN on.
from models.documented import DOCUMENTED
from models.network import build
data = Dataset.open(Path(sys.argv[2]))
run = DOCUMENTED["run-10"]
ends = []
class Clock(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        ends.append(time.perf_counter())
def compiled(hp=None):
    model = build(run.model, data.input_shape, len(data.classes))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
images = [np.array(a) for s in (data.train, data.validation) for a in (s.images, s.labels)]
fit = dict(x=images[0], y=images[1], validation_data=tuple(images[2:]), epochs=2, verbose=0,
           batch_size=run.training.batch_size, callbacks=[Clock()])
if sys.argv[1] == "keras-tuner":
    import keras_tuner
    keras_tuner.RandomSearch(
        compiled, objective="val_loss", max_trials=1, directory=sys.argv[3]
    ).search(**fit)
else:
    compiled().fit(**fit)
print("rate", len(images[1]) / (ends[1] - ends[0]))
"""

MATRICES = """
import time
import tensorflow as tf
product = tf.function(lambda a: tf.matmul(a, a))
for dtype in (tf.float32, tf.bfloat16):
    a = tf.cast(tf.random.normal((2048, 2048)), dtype)
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        product(a).numpy()
        seconds.append(time.perf_counter() - begun)
    print("rate", 2 * 2048**3 / min(seconds) / 1e9)
"""


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        workers: treino's worker processes.
        treino: Images a second of all of them together, a figure a round.
        treino_bfloat16: The same in bfloat16; empty where the processor has no instructions for it.
        plain: The same of ``model.fit`` in one process, with TensorFlow as it comes.
        plain_onednn: The same with oneDNN, which treino turns on.
        keras_tuner: The same of a KerasTuner trial; empty where it, or the TensorBoard that its
            loop needs, is not installed.
        ratio: Of treino, in float32, to plain, the median of the rounds'.
        ratio_onednn: The same to plain with oneDNN.
        matrix_float32: 1e9 operations a second of the largest product of matrices, all cores.
        matrix_bfloat16: The same in bfloat16.
        share: Of that float32 rate, what treino's training and validation put to use.
    """

    workers: int
    treino: list[float]
    treino_bfloat16: list[float]
    plain: list[float]
    plain_onednn: list[float]
    keras_tuner: list[float]
    ratio: float
    ratio_onednn: float
    matrix_float32: float
    matrix_bfloat16: float
    share: float


def cut(data: Dataset, images: int, folder: Path) -> Dataset:
    """The first ``images`` training images of ``data`` and fewer of the others, decoded anew."""
    sizes = {split: max(1, images // VALIDATION) for split in SPLITS} | {"train": images}
    parts = {}
    with Cache(folder).entry() as entry:
        for split in SPLITS:
            whole: Split = getattr(data, split)
            size = min(sizes[split], len(whole.labels))
            # A copy: what is mapped from a file is taken to lie in its place already.
            entry.finish(split, np.array(whole.images[:size]), whole.labels[:size])
            parts[split] = [size]
        return entry.commit(
            f"{data.fingerprint}-{images}",
            name=f"{images} images of {data.name}",
            source=data.source,
            classes=data.classes,
            parts=parts,
        )


def _slots(data: Dataset) -> list[Slot]:
    """What a search starts for networks such as run 10."""
    shape, classes = data.input_shape, len(data.classes)
    return slots(0, estimate_memory(RUN.model, shape, classes, RUN.training.batch_size))


def treino(data: Dataset, folder: Path, precision: str = "float32") -> float:
    """Images a second of all of treino's workers together."""
    with LocalBackend(_slots(data), folder / "logs") as backend:
        return images_per_second(backend, data, folder, epochs=2, precision=precision)


def images_per_second(
    backend: Backend, data: Dataset, folder: Path, epochs: int, precision: str = "float32"
) -> float:
    """Images a second of all workers of ``backend`` together, the first epoch left out."""
    training = RUN.training.model_copy(update={"epochs": epochs, "precision": precision})
    rates: list[float] = []
    for slot in backend.slots:
        checkpoint = folder / f"{time.monotonic_ns()}" / "checkpoint.npz"
        backend.start(slot, Job(f"{slot}", RUN.model, training, data.path, 1, checkpoint))
    first: dict[int, float] = {}
    ended = 0
    while ended < len(backend.slots):
        for slot, message in backend.wait(1.0):
            if isinstance(message, EpochDone):
                now = time.perf_counter()
                if message.last:
                    images = len(data.train.labels) * (epochs - 1)
                    rates.append(images / (now - first[slot]))
                first.setdefault(slot, now)
            if isinstance(message, Failed):
                raise SystemExit(message.reason)
            if isinstance(message, Resumed | EpochDone):
                backend.answer(slot, Verdict.GO_ON)
            ended += isinstance(message, Done)
    return sum(rates)


def peer(name: str, data: Dataset, folder: Path, *, onednn: bool = False) -> float:
    """Images a second of ``fit`` or ``keras-tuner``, with TensorFlow as it comes or oneDNN on."""
    arguments = (name, str(data.path), str(folder / f"{time.monotonic_ns()}"))
    return _rates(PEERS, *arguments, onednn=onednn)[0]


def measure(data: Dataset, rounds: int) -> Result:
    """Take everything's measure, ``rounds`` times in turn."""
    ours, ours_bfloat16, plain, plain_onednn, tuner = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(rounds):
            ours.append(treino(data, Path(name)))
            if bfloat16_pays():
                ours_bfloat16.append(treino(data, Path(name), "bfloat16"))
            plain.append(peer("fit", data, Path(name)))
            plain_onednn.append(peer("fit", data, Path(name), onednn=True))
            if all(map(importlib.util.find_spec, ("keras_tuner", "tensorboard"))):  # it needs both
                tuner.append(peer("keras-tuner", data, Path(name)))
    float32, bfloat16 = _rates(MATRICES, onednn=True)
    # A multiply-add is two operations. Forwards and backwards are three times forwards; validation
    # is forwards alone.
    forwards = 2 * count_operations(RUN.model, data.input_shape, len(data.classes))
    validation = len(data.validation.labels) / len(data.train.labels)
    share = median(ours) * forwards * (3 + validation) / 1e9 / float32
    return Result(
        workers=len(_slots(data)),
        treino=ours,
        treino_bfloat16=ours_bfloat16,
        plain=plain,
        plain_onednn=plain_onednn,
        keras_tuner=tuner,
        ratio=_ratio(ours, plain),
        ratio_onednn=_ratio(ours, plain_onednn),
        matrix_float32=float32,
        matrix_bfloat16=bfloat16,
        share=share,
    )


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _rates(code: str, *arguments: str, onednn: bool) -> list[float]:
    command = [sys.executable, "-c", code, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != ONEDNN}
    if onednn:
        environment[ONEDNN] = "1"
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [float(words[1]) for words in lines if words[:1] == ["rate"]]


def _printed(result: Result) -> str:
    bfloat16 = f"treino, {result.workers} workers, bfloat16"
    rows = {
        f"treino, {result.workers} workers": result.treino,
        **({bfloat16: result.treino_bfloat16} if result.treino_bfloat16 else {}),
        "plain model.fit": result.plain,
        "plain model.fit, oneDNN on": result.plain_onednn,
        "KerasTuner": result.keras_tuner,
    }
    lines = [
        f"{name}: {', '.join(f'{rate:,.0f}' for rate in rates) or 'not installed'} images/s"
        for name, rates in rows.items()
    ]
    lines.append(
        f"treino to model.fit, median of the rounds: {result.ratio:.2f}, "
        f"with oneDNN on in both {result.ratio_onednn:.2f}"
    )
    lines.append(
        f"matrix rate: {result.matrix_float32:,.0f} GFLOP/s float32, "
        f"{result.matrix_bfloat16:,.0f} bfloat16; treino uses {result.share:.0%} of float32's"
    )
    return "\n".join(lines)


def main() -> None:
    """Print the rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="as DATA= of make search")
    parser.add_argument("--images", type=int, help="only that many training images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = load(options.data).dataset
    with tempfile.TemporaryDirectory() as name:
        if options.images:
            data = cut(data, options.images, Path(name))
        result = measure(data, options.rounds)
    print(json.dumps(asdict(result), indent=2) if options.json else _printed(result))


if __name__ == "__main__":
    main()
