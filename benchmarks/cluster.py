"""A cluster of this machine beside its local backend, and how soon a node trains.

``python -m benchmarks.cluster DATA``. A head that trains nothing and two nodes of one processor
take turns with two local workers, each with one thread: all train the documents' run 10, and the
images a second count from the end of the first epoch. Then one node joins again and again: first
with an empty cache, to which the images are sent, then with the images in its cache.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.throughput import cut, images_per_second
from data.catalog import load
from data.dataset import Dataset
from models.spec import Block, ModelSpec, TrainingSpec
from search.protocol import EpochDone, Failed, Job, Resumed, Verdict
from search.workers.backends.local import LocalBackend, Slot
from tests.support.clusters import Cluster, cluster_of, opened

SMALL = ModelSpec(blocks=(Block(filters=4),))  # one that is built at once
EPOCHS = 5  # of a measurement of throughput, the first of which does not count


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        local: Images a second of two local workers, a figure per round.
        cluster: The same of two nodes of one worker.
        ratio: Of the cluster to the local workers, the median of the rounds'.
        cold: Seconds from the start of a node with an empty cache to its first training step.
        warm: The same with the images in its cache.
        images: Bytes of the images.
    """

    local: list[float]
    cluster: list[float]
    ratio: float
    cold: list[float]
    warm: list[float]
    images: int


def measure(data: Dataset, trained: Dataset, rounds: int, folder: Path) -> Result:
    """Measure everything ``rounds`` times in turn.

    Args:
        data: Images that nodes get for the start times.
        trained: Images to train on for the throughput.
        rounds: Number of measurements of each kind.
        folder: Where the nodes have their folders.
    """
    ours, nodes, cold, warm = [], [], [], []
    with cluster_of(folder / "cluster", 2) as cluster:
        with (
            LocalBackend([Slot(threads=1)] * 2, folder / "logs") as local,
            opened(cluster, trained) as remote,
        ):
            for _ in range(rounds):
                ours.append(images_per_second(local, trained, folder, EPOCHS))
                nodes.append(images_per_second(remote, trained, folder, EPOCHS))
                _say(f"two local workers {ours[-1]:,.0f} images/s, two nodes {nodes[-1]:,.0f}")
        for node in cluster.nodes:
            cluster.leave(node)
        for _ in range(rounds):
            begun = time.time()
            node = cluster.join()
            cold.append(_first_step(cluster, data, folder) - begun)
            cluster.leave(node)
            begun = time.time()
            cluster.rejoin(node)
            warm.append(_first_step(cluster, data, folder) - begun)
            cluster.leave(node)
            _say(f"first step of a node after {cold[-1]:.1f} s, with its images {warm[-1]:.1f} s")
    return Result(
        ours,
        nodes,
        median(a / b for a, b in zip(nodes, ours, strict=True)),
        cold,
        warm,
        sum(file.stat().st_size for file in data.path.iterdir()),
    )


def _first_step(cluster: Cluster, data: Dataset, folder: Path) -> float:
    """When the only node began to train, in seconds since 1970."""
    training = TrainingSpec(epochs=1, batch_size=512)
    with opened(cluster, data, slots=1) as backend:
        checkpoint = folder / f"{time.monotonic_ns()}" / "checkpoint.npz"
        (slot,) = backend.slots
        backend.start(slot, Job("first", SMALL, training, data.path, 1, checkpoint))
        while True:
            for _, message in backend.wait(1.0):
                if isinstance(message, Failed):
                    raise SystemExit(message.reason)
                if isinstance(message, Resumed):
                    backend.answer(slot, Verdict.GO_ON)
                if isinstance(message, EpochDone):
                    return time.time() - message.figures.seconds


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _printed(result: Result) -> str:
    size = f"{result.images / 2**20:,.0f} MiB"
    rows = (
        ("two local workers", result.local, "images/s"),
        ("two nodes of one worker", result.cluster, "images/s"),
        (f"from a node's start to its first step, {size} of images to fetch", result.cold, "s"),
        ("the same with the images in its cache", result.warm, "s"),
    )
    lines = [
        f"{name}: {', '.join(f'{v:,.1f}' for v in values)} {unit}" for name, values, unit in rows
    ]
    lines.insert(2, f"cluster to local workers, median of the rounds: {result.ratio:.3f}")
    return "\n".join(lines)


def main() -> None:
    """Print the rates, their ratio and the start times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="as DATA= of make search; what nodes fetch when they start")
    parser.add_argument("--images", type=int, default=5000, help="training images for the rates")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = load(options.data).dataset
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = cut(data, options.images, folder / "images")
        result = measure(data, trained, options.rounds, folder)
    print(json.dumps(asdict(result), indent=2) if options.json else _printed(result))


if __name__ == "__main__":
    main()
