"""Whether memory grows with the trials: a search of 200 short ones, measured at its 10th and last.

Part of ``make chaos``. Each figure is the resident memory of the tuner and all of its workers
together, the largest seen while ten trials went by.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.chaos import TREINO
from tests.support.pictures import image_folder

LIMIT = 1.3


def watch(folder: Path, trials: int) -> dict[int, int]:
    """Run a search of short trials; bytes in use by the number of trials ended, in tens."""
    images = image_folder(folder / "images", each=10, side=8)
    flags = ("--trials", str(trials), "--epochs", "1", "--image-size", "8", "--sampler", "random")
    most: dict[int, int] = {}
    with subprocess.Popen(
        [TREINO, "search", "--data", str(images), *flags],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as tuner:
        assert tuner.stdout is not None
        ended = 0
        for line in tuner.stdout:
            ended += bool(re.match(r"trial \d+: (complete|pruned|failed)", line))
            tens = ended // 10 * 10
            most[tens] = max(most.get(tens, 0), _in_use(tuner.pid))
    return most


def _in_use(pid: int) -> int:
    try:
        tuner = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (tuner, *tuner.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Exit code 1 if memory grew beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        most = watch(Path(folder), trials)
    early, late = most[10], max(used for tens, used in most.items() if tens >= trials - 20)
    ratio = late / early
    print(
        f"memory of a search of {trials} short trials: {early / 2**20:,.0f} MiB after 10, "
        f"{late / 2**20:,.0f} MiB at the end, {ratio:.2f} times (limit {LIMIT})"
    )
    sys.exit(0 if ratio <= LIMIT else 1)


if __name__ == "__main__":
    main()
