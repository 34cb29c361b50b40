"""Epochs a second that the tuner processes, and what its decisions take, with up to 1,000 slots.

Part of ``make bench``. The tuner, its records and the default chooser are the real ones, on SQLite
and on PostgreSQL; the workers are simulated and take no time, so that the tuner is never idle.
The tuner computes in one thread: what it would process on a core of its own is the rate per second
of processor time. PostgreSQL's server is started here if it is installed.
"""

import argparse
import hashlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import optuna
from rich.console import Console
from threadpoolctl import threadpool_limits

from data.catalog import load
from models.history import EpochFigures
from models.spec import ModelSpec
from search.console.display import PlainDisplay
from search.interruption import Interruption
from search.protocol import Job, Message
from search.scheduling import samplers
from search.scheduling.chooser import Chooser, NextTraining, ObservedTrial
from search.scheduling.prior import prior_of
from search.settings import Settings
from search.spaces.builtin import Documents
from search.spaces.room import NetworkLimits, Room
from search.spaces.training_defaults import TrainingDefaults
from search.study.attachments import AttachingAside
from search.study.opening import Opening, open_study
from search.study.recipe import StudyRecipe
from search.study.workspace import Workspace
from search.tuning import tuner
from search.tuning.plan import Plan
from search.tuning.session import Session
from search.workers.backends.simulated import SimulatedBackend
from storage.engine import database_url, open_storage
from storage.files import Layout
from storage.lease import StudyLease
from storage.tables import Records
from tests.support.databases import server_database
from tests.support.servers import Server, programs

EPOCHS = 20
TRIALS = {16: 160, 100: 300, 1000: 1500}  # by slots
SEED = 7
GOAL = 100  # epochs a second


@dataclass(frozen=True)
class Result:
    """What one search took.

    Attributes:
        slots: Number of simulated workers.
        trials: Trials of the study.
        epochs: Epochs that the tuner processed.
        seconds: Wall time of the search.
        drawing: Seconds that it then waited for the figures of its trials.
        busy: Processor time of the tuner's process in it, seconds.
        decisions: Number of times the chooser was asked.
        decision: Median seconds of such a decision.
        verdict: Median seconds from a worker's message to the tuner's answer.
        memory: Largest resident memory of the tuner's process, bytes.
        grown: How much of it was added by the search.
        digest: Of all trials and their epochs: equal for equal decisions.
    """

    slots: int
    trials: int
    epochs: int
    seconds: float
    drawing: float
    busy: float
    decisions: int
    decision: float
    verdict: float
    memory: int
    grown: int
    digest: str


class Timed:
    """A chooser that notes how long another one takes."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self.seconds: list[float] = []

    @property
    def memory(self) -> Mapping[str, object] | None:
        """That of the other one."""
        return self._chooser.memory

    def choose(
        self, trials: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        begun = time.perf_counter()
        try:
            return self._chooser.choose(trials, new=new, paused=paused)
        finally:
            self.seconds.append(time.perf_counter() - begun)


class Fleet(SimulatedBackend):
    """Workers that take no time: a turn brings the messages of all of them."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, curve)
        self._sent_at: dict[int, float] = {}
        self.waits: list[float] = []

    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """All messages so far."""
        messages: list[tuple[int, Message]] = []
        while one := super().wait(timeout):
            messages += one
        now = time.perf_counter()
        self._sent_at.update((slot, now) for slot, _ in messages)
        return messages

    def answer(self, slot: int, verdict: object) -> None:
        """Also note how long the worker waited."""
        self.waits.append(time.perf_counter() - self._sent_at[slot])
        super().answer(slot, verdict)  # type: ignore[arg-type]


def curve(job: Job) -> list[EpochFigures]:
    """Losses that fall to a floor that depends on the configuration."""
    assert isinstance(job.model, ModelSpec)
    rate, dropout = np.log10(job.training.learning_rate) + 3, job.model.dense.dropout
    floor = 0.6 + 0.3 * float(rate) ** 2 + (dropout - 0.3) ** 2
    chance = np.random.default_rng(job.seed)
    losses = floor + (2.3 - floor) * np.exp(-0.3 * np.arange(1, job.training.epochs + 1))
    losses += 0.01 * chance.standard_normal(len(losses))
    return [
        EpochFigures(e, loss, 0.5, loss, 0.5, loss, loss, 0.001, 2.0)
        for e, loss in enumerate(map(float, losses), 1)
    ]


def measure(url: str, slots: int, trials: int, var: Path) -> Result:
    """Run a new search with that many simulated workers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = Settings(epochs=EPOCHS, trials=trials, seed=SEED)
    space = Documents(TrainingDefaults(epochs=EPOCHS), settings.image_size)
    data = load("digits", image_size=settings.image_size).dataset
    recipe = StudyRecipe.of_search(settings, data, space)
    storage = open_storage(database_url(url), write=True)
    place = Workspace(storage, Records(storage.engine), Layout(var))
    choosers: list[Timed] = []

    def timed(*arguments: object, **options: object) -> Timed:
        choosers.append(Timed(samplers.make_chooser(*arguments, **options)))  # type: ignore[arg-type]
        return choosers[-1]

    with (
        StudyLease(storage.engine, "scale") as lease,
        Fleet(slots) as backend,
        Interruption() as interruption,
        AttachingAside(lambda: interruption.now) as attach,
        threadpool_limits(1),
        mock.patch.object(tuner, "make_chooser", timed),
    ):
        place.layout.make("scale")
        study, _ = open_study(storage, "scale", recipe, Opening.of_search(settings, data, space))
        prior = prior_of("auto", space.distributions())
        plan = Plan(trials=trials, seed=SEED, prior=prior)
        display = PlainDisplay(Console(file=io.StringIO()))
        session = Session(place, "scale", backend, display, interruption, lease.renew, attach)
        room = Room(space, data.input_shape, len(data.classes), NetworkLimits())
        before = _memory()
        begun, busy = time.perf_counter(), time.process_time()
        outcome = tuner.Tuner(study, space, data, plan, session, room=room).run()
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    drawing = time.perf_counter() - begun - seconds
    content = [
        (t.number, t.state.name, t.params, t.value, t.intermediate_values)
        for t in study.get_trials(deepcopy=False)
    ]
    storage.engine.dispose()
    times = choosers[0].seconds
    return Result(
        slots=slots,
        trials=len(content),
        epochs=outcome.epochs,
        seconds=seconds,
        drawing=drawing,
        busy=busy,
        decisions=len(times),
        decision=median(times),
        verdict=median(backend.waits),
        memory=_memory(),
        grown=_memory() - before,
        digest=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16],
    )


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _apart(url: str, slots: int, trials: int) -> Result:
    """The same, in a process of its own."""
    arguments = ["--url", url, "--slots", str(slots), "--trials", str(trials)]
    command = [sys.executable, "-m", "benchmarks.scale", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Result(**json.loads(done.stdout))


def _printed(name: str, result: Result) -> str:
    return (
        f"{name}, {result.slots:,} slots: {result.epochs / result.busy:.0f} epochs per second of "
        f"processor time (goal {GOAL}), {result.epochs / result.seconds:.0f} per second; "
        f"{result.epochs:,} epochs of {result.trials:,} trials in {result.seconds:.0f} s, figures "
        f"{result.drawing:.0f} s later; a decision {1000 * result.decision:.1f} ms "
        f"({result.decisions:,}), a verdict after {result.verdict:.2f} s; memory "
        f"{result.memory / 2**20:.0f} MiB ({result.grown / 2**20:+.0f}); trials {result.digest}"
    )


def main() -> None:
    """Print a line for each database and number of slots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, action="append", help="default: 16, 100 and 1,000")
    parser.add_argument("--trials", type=int, help="default: 160, 300 and 1,500")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="default: both")
    parser.add_argument("--url", help="measure here, in this process, and print JSON")
    options = parser.parse_args()
    counts = options.slots or list(TRIALS)
    trials = {slots: options.trials or TRIALS.get(slots, 3 * slots) for slots in counts}
    with tempfile.TemporaryDirectory() as name:
        if options.url:
            result = measure(options.url, counts[0], trials[counts[0]], Path(name))
            print(json.dumps(asdict(result)))
            return
        if options.database != "postgresql":
            for slots in counts:
                url = str(Path(name) / f"{slots}.db")
                print(_printed("SQLite", _apart(url, slots, trials[slots])), flush=True)
        if options.database == "sqlite":
            return
        installed = programs()
        if installed is None:
            print("PostgreSQL's server is not installed: not measured")
            return
        server = Server(installed)
        server.start()
        try:
            for slots in counts:
                url = server_database(server.host, f"scale{slots}")
                print(_printed("PostgreSQL", _apart(url, slots, trials[slots])), flush=True)
        finally:
            server.stop()
            server.remove()


if __name__ == "__main__":
    main()
