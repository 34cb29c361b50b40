"""Images a second: treino's workers beside a plain one-process ``model.fit``, in the same minutes.

Both train the documents' run 10 (batch 32) for one epoch on the same images, validation included;
two of each, in turn, because machines are noisy. ``python -m benchmarks.throughput DATA``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from data.catalog import load
from data.dataset import Dataset
from models.documented import DOCUMENTED
from search.backends.local import LocalBackend
from search.jobs import Done, EpochDone, Job, Resumed, Verdict
from search.machine import slots

RUN = DOCUMENTED["run-10"]
PLAIN = """
import sys, time
from pathlib import Path
import keras
import numpy as np
from data.dataset import Dataset
from models.documented import DOCUMENTED
from models.network import build
data = Dataset.open(Path(sys.argv[1]))
run = DOCUMENTED["run-10"]
model = build(run.model, data.input_shape, len(data.classes))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
begun = time.perf_counter()
model.fit(
    np.array(data.train.images), np.array(data.train.labels), verbose=0,
    batch_size=run.training.batch_size,
    validation_data=(np.array(data.validation.images), np.array(data.validation.labels)),
)
print(len(data.train.labels) / (time.perf_counter() - begun))
"""


def plain(data: Dataset) -> float:
    """Images a second of ``model.fit`` with TensorFlow's own choice of threads."""
    command = [sys.executable, "-c", PLAIN, str(data.path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(done.stdout)


def treino(data: Dataset, folder: Path) -> float:
    """Images a second of all of treino's workers together, an epoch each."""
    training = RUN.training.model_copy(update={"epochs": 1})
    with LocalBackend(slots(0), folder / "logs") as backend:
        for slot in range(backend.slots):
            checkpoint = folder / f"{time.monotonic_ns()}" / "checkpoint.npz"
            backend.start(slot, Job(f"{slot}", RUN.model, training, data.path, 1, checkpoint))
        rates: list[float] = []
        ended = 0
        while ended < backend.slots:
            for slot, message in backend.wait(1.0):
                if isinstance(message, EpochDone):
                    rates.append(len(data.train.labels) / message.figures.seconds)
                if isinstance(message, Resumed | EpochDone):
                    backend.answer(slot, Verdict.GO_ON)
                ended += isinstance(message, Done)
        return sum(rates)


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="as DATA= of make search")
    data = load(parser.parse_args().data).dataset
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(2):
            ours.append(treino(data, Path(name)))
            theirs.append(plain(data))
    print(f"treino, {len(slots(0))} workers: {', '.join(f'{rate:,.0f}' for rate in ours)} images/s")
    print(f"plain model.fit: {', '.join(f'{rate:,.0f}' for rate in theirs)} images/s")
    print(f"ratio of the medians: {median(ours) / median(theirs):.2f}")


if __name__ == "__main__":
    main()
