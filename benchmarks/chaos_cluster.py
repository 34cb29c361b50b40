"""A search on a cluster under fire: workers, agents, raylets and nodes killed, the end the same.

``make chaos CLUSTER=1`` runs it, on a cluster of this machine: a head that trains nothing and two
nodes of one processor. It prints the figures of benchmarks/chaos.py. Besides, an epoch may be
trained twice for each kill: one that was saved on its node, but not yet by the tuner.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.chaos import Result, Scene, compare
from tests.support.clusters import Cluster, one_core, run_treino
from tests.support.pictures import image_folder

SCENE = Scene("two nodes, random", 1, ("--sampler", "random", "--pruner", "none"))
VICTIMS = ("worker", "worker", "agent", "raylet", "node")
MOST_AT_AN_EPOCH = 2  # kills; at the third death on one epoch a trial fails, as it should


def ordeal(
    folder: Path, *, trials: int, epochs: int, every: tuple[float, float], seed: int
) -> Result:
    """Run the search on a single machine in peace, and on a cluster under fire.

    Args:
        folder: Where; both searches get a folder in it.
        trials: Trials of each search.
        epochs: Epochs of each trial.
        every: Least and most seconds between two kills.
        seed: Of moments and victims; the machine decides what they hit.
    """
    images = image_folder(folder / "images", each=20, side=16)
    peace = folder / "peace"
    peace.mkdir()
    _, *arguments = SCENE.command(images, trials, epochs)
    with one_core():
        run_treino(peace, *arguments)
    cluster = Cluster(folder / "cluster")
    try:
        for _ in range(2):
            cluster.join()
        fire = cluster.head.folder
        search = subprocess.Popen(
            [*SCENE.command(images, trials, epochs), "--cluster", cluster.address],
            cwd=fire,
            env={**os.environ, "HOME": str(fire / "home")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        kills = _strike(search, cluster, random.Random(seed), every)
        _, said = search.communicate()
        if search.returncode != 0:
            raise RuntimeError(f"the search ended with {search.returncode}: {said}")
        logs = [log for node in cluster.nodes for log in node.cache.glob("logs/s/*.log")]
        return compare(SCENE, peace, fire, logs, trials, kills, on_cluster=True)
    finally:
        cluster.close()


def _strike(
    search: "subprocess.Popen[str]",
    cluster: Cluster,
    chance: random.Random,
    every: tuple[float, float],
) -> int:
    """Kill something on a node now and then, until the search ends; return how often."""
    kills = 0
    struck: Counter[str] = Counter()
    moment = time.monotonic() + chance.uniform(*every)
    while search.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            search.wait(timeout=0.2)
        if time.monotonic() < moment:
            continue
        with suppress(psutil.NoSuchProcess, OSError, StopIteration):
            node = chance.choice([n for n in cluster.nodes if psutil.pid_exists(n.record.pid)])
            workers = node.workers
            epochs = [_last_line(worker) for worker in workers]
            if not workers or any(struck[epoch] >= MOST_AT_AN_EPOCH for epoch in epochs):
                continue
            victim = chance.choice(VICTIMS)
            if victim == "worker":
                chance.choice(workers).kill()
            elif victim == "agent":
                node.agents[0].kill()
            elif victim == "raylet":
                node.raylet.kill()
            else:
                node.kill()
                cluster.join()
            struck.update(epochs)
            kills += 1
            moment = time.monotonic() + chance.uniform(*every)
    return kills


def _last_line(worker: psutil.Process) -> str:
    log = Path(f"/proc/{worker.pid}/fd/1").resolve()
    return log.read_text(errors="replace").rstrip().rpartition("\n")[2]


def main() -> None:
    """Run it; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = ordeal(
            Path(folder),
            trials=arguments.trials,
            epochs=arguments.epochs,
            every=(8.0, 15.0),
            seed=arguments.seed,
        )
    print(result, flush=True)
    sys.exit(0 if result.kept else 1)


if __name__ == "__main__":
    main()
