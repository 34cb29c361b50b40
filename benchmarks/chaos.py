"""A search under fire: workers killed every few seconds, the tuner killed too, the end the same.

``make chaos`` runs it, then benchmarks/memory.py and benchmarks/fuzz.py. Three searches of 20
trials are each run twice, once in peace and once under fire: one of two workers with random
configurations, whose outcome does not depend on which trial is faster, and two of a single worker,
where every decision depends on those before: TPE with the median pruner, and the default, which
pauses trials and takes them up again.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial

from search.study.attributes import REASON
from storage.engine import database_url, open_storage
from tests.support.pictures import image_folder

_SAFE = re.compile(r"^(trial-\d+: epoch \d+) is saved$", re.MULTILINE)
_BEGUN = re.compile(r"^(trial-\d+: epoch \d+)$", re.MULTILINE)
TREINO = str(Path(sys.executable).with_name("treino"))


@dataclass(frozen=True)
class Scene:
    """One search: what it is called, and its flags."""

    name: str
    workers: int
    flags: tuple[str, ...]

    def command(self, images: Path, trials: int, epochs: int) -> list[str]:
        """The command that starts it and goes on with it."""
        sizes = ("--trials", str(trials), "--epochs", str(epochs), "--image-size", "16")
        what = ("--data", str(images), "--study", "s", "--workers", str(self.workers))
        return [TREINO, "search", *what, *sizes, *self.flags]


SCENES = (
    Scene("two workers, random", 2, ("--sampler", "random", "--pruner", "none")),
    Scene("one worker, TPE, median", 1, ("--sampler", "tpe", "--pruner", "median")),
    Scene("one worker, forecast, promote", 1, ("--sampler", "gp", "--pruner", "promote")),
)


@dataclass(frozen=True)
class Result:
    """What became of a search under fire, beside the same in peace."""

    scene: Scene
    worker_kills: int  # on a cluster also agents, raylets and nodes
    tuner_kills: int
    lost: int
    limbo: int
    trained_twice: int
    begun_twice: int
    difference: str
    on_cluster: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        struck = self.worker_kills + self.tuner_kills * self.scene.workers
        nothing = self.lost == self.limbo == 0
        # On a cluster, an epoch may be saved on its node and lost on the way to the tuner.
        repeats = self.trained_twice <= (struck if self.on_cluster else 0)
        return nothing and repeats and self.begun_twice <= struck and not self.difference

    def __str__(self) -> str:
        victims = "workers, agents, raylets or nodes" if self.on_cluster else "workers"
        return (
            f"{self.scene.name}: killed {self.worker_kills} {victims} and the tuner "
            f"{self.tuner_kills} times; trials lost {self.lost}, limbo {self.limbo}, "
            f"epochs trained twice {self.trained_twice}, broken off and begun again "
            f"{self.begun_twice}, "
            f"curves equal to the undisturbed run's: {'no, ' * bool(self.difference)}"
            f"{self.difference or 'yes'}"
        )


def ordeal(
    scene: Scene,
    folder: Path,
    *,
    trials: int,
    epochs: int,
    tuner_kills: int,
    every: tuple[float, float],
    seed: int,
) -> Result:
    """Run a scene in peace and under fire.

    Args:
        scene: What to run.
        folder: Where; both searches get a folder in it.
        trials: Trials of each search.
        epochs: Epochs of each trial.
        tuner_kills: How often the tuner is killed.
        every: Least and most seconds between two kills.
        seed: Of the moments and victims; the machine decides what they hit.
    """
    images = image_folder(folder / "images", each=20, side=16)
    peace, fire = folder / "peace", folder / "fire"
    for place in (peace, fire):
        place.mkdir()
    command = scene.command(images, trials, epochs)
    environment = {**os.environ, "HOME": str(folder / "home")}
    subprocess.run(command, cwd=peace, env=environment, check=True, stdout=subprocess.DEVNULL)
    chance = random.Random(seed)
    worker_kills, left = 0, tuner_kills
    struck: Counter[str] = Counter()
    while True:
        tuner = subprocess.Popen(
            command, cwd=fire, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        moment = time.monotonic() + chance.uniform(0.8, 1.6) * every[1] if left else float("inf")
        worker_kills += _strike_workers(tuner, chance, every, moment, struck)
        if tuner.poll() is None:
            left -= 1
            tuner.kill()
        _, said = tuner.communicate()
        if tuner.returncode == 0 and not left:
            break
        if tuner.returncode not in (0, -9):
            raise RuntimeError(f"the tuner ended with {tuner.returncode}: {said.decode()}")
        if tuner.returncode == 0:
            break  # done before its last kill was due
    logs = fire.glob("var/s/logs/*.log")
    return compare(scene, peace, fire, logs, trials, worker_kills, tuner_kills - left)


def _strike_workers(
    tuner: "subprocess.Popen[bytes]",
    chance: random.Random,
    every: tuple[float, float],
    until: float,
    struck: Counter[str],
) -> int:
    """Kill a random training worker now and then until the tuner ends or its time has come.

    The same epoch at most twice: a trial whose worker dies three times on one epoch is failed, as
    it should be, and then the searches would differ. ``struck`` counts the kills by epoch.
    """
    kills = 0
    strike = time.monotonic() + chance.uniform(*every)
    while tuner.poll() is None and time.monotonic() < until:
        with suppress(subprocess.TimeoutExpired):
            tuner.wait(timeout=0.1)
        if time.monotonic() < strike:
            continue
        with suppress(psutil.NoSuchProcess, OSError):
            workers = [w for w in psutil.Process(tuner.pid).children(recursive=True) if _epoch(w)]
            if not workers:
                continue
            victim = chance.choice(sorted(workers, key=lambda worker: worker.pid))
            victim.suspend()  # so that the epoch that is read is the one that is struck
            epoch = _epoch(victim)
            if epoch and struck[epoch] < 2:
                victim.kill()
                struck[epoch] += 1
                kills += 1
                strike = time.monotonic() + chance.uniform(*every)
            else:
                victim.resume()
    return kills


def _epoch(process: psutil.Process) -> str:
    """The epoch that a worker is in the middle of; empty if it is not, or is no worker."""
    log = Path(f"/proc/{process.pid}/fd/1").resolve()
    if log.suffix != ".log":
        return ""
    last = log.read_text(errors="replace").rpartition("\n")[0].rpartition("\n")[2]
    return last if _BEGUN.fullmatch(last) else ""


def compare(
    scene: Scene,
    peace: Path,
    fire: Path,
    logs: Iterable[Path],
    trials: int,
    worker_kills: int,
    tuner_kills: int = 0,
    *,
    on_cluster: bool = False,
) -> Result:
    """What became of a search under fire, whose workers wrote ``logs``."""
    quiet, struck = _trials(peace), _trials(fire)
    text = "".join(log.read_text(errors="replace") for log in logs)
    safe = Counter(_SAFE.findall(text))
    begun = Counter(_BEGUN.findall(text))
    return Result(
        scene=scene,
        worker_kills=worker_kills,
        tuner_kills=tuner_kills,
        lost=trials - sum(trial.state.is_finished() for trial in struck),
        limbo=sum(not trial.state.is_finished() for trial in struck),
        trained_twice=sum(count - 1 for count in safe.values()),
        begun_twice=sum(count - 1 for count in begun.values()),
        difference=_difference(quiet, struck),
        on_cluster=on_cluster,
    )


def _difference(quiet: Sequence[FrozenTrial], struck: Sequence[FrozenTrial]) -> str:
    """What the first trial that differs differs in; empty if none does."""
    for one, other in zip_longest(quiet, struck):
        if one is None or other is None:
            return f"{len(quiet)} trials and {len(struck)}"
        for what in ("params", "intermediate_values", "state", "value"):
            is_, was = getattr(other, what), getattr(one, what)
            if is_ != was:
                reason = other.user_attrs.get(REASON, "")
                return f"trial {one.number}: {what} {was} in peace, then {is_} ({reason})"
    return ""


def _trials(place: Path) -> list[FrozenTrial]:
    storage = open_storage(database_url(str(place / "var/treino.db")), write=False)
    try:
        return optuna.load_study(study_name="s", storage=storage).get_trials()
    finally:
        storage.engine.dispose()


def main() -> None:
    """Run every scene; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tuner-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kept = True
    for scene in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            result = ordeal(
                scene,
                Path(folder),
                trials=arguments.trials,
                epochs=arguments.epochs,
                tuner_kills=arguments.tuner_kills,
                every=(6.0, 10.0),
                seed=arguments.seed,
            )
        print(result, flush=True)
        kept &= result.kept
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
