"""The agent: one process per node and search, which trains the tuner's jobs on its node.

It wraps a LocalBackend. Nothing is shared with the tuner's machine: images, the user's code,
checkpoints and models arrive and leave as bytes, and paths in a job are names that the agent
resolves in a folder of its own.
"""

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import Cache, Entry
from data.dataset import DataError
from data.temporary import own_folder, sweep
from models.spec import OwnSpec
from search.errors import TreinoError
from search.protocol import Done, End, EpochDone, Job, Message
from search.workers.backends.exchange import (
    Answer,
    Command,
    Delivery,
    File,
    Introduction,
    Kill,
    Prepared,
    Request,
    Start,
)
from search.workers.backends.local import LocalBackend, Slot
from search.workers.hardware import check_room, little_room, slots, told
from storage.files import checked_name

TURN = 0.2  # maximum seconds that an exchange waits for messages
LEAST_DISK = 2**30  # bytes that a node needs to have free, besides room for the images
_PACKAGES = ("data", "models", "search", "storage")
_ROOT = Path(__file__).parents[3]


class Agent:
    """Trains jobs on its node. The tuner's backend calls it, one call at a time.

    It is made without arguments, and does nothing before it is called, so that a node with another
    version of treino can say so.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._entry: Entry | None = None  # images that are arriving
        self._fault = ""  # why they cannot be stored
        self._executed = 0  # number of the last command
        self._sent = 0  # number of the last message
        self._outbox: list[Delivery] = []
        self._jobs: dict[int, Job] = {}  # as they were sent

    def introduce(self, request: Request) -> Introduction:
        """Say what this node is, and whether it has the images, or room for them."""
        has_images, fault = False, ""
        try:
            cache = Cache.default()
            has_images = cache.find(request.images) is not None
            fault = _lack_of_disk(cache.root, 0 if has_images else request.size)
        except DataError as error:
            fault = str(error)
        return Introduction(versions(), processor(), has_images, fault)

    def store(self, file: str, start: int, content: npt.NDArray[np.uint8]) -> None:
        """Store a part of a file of the images; ``prepare`` tells of faults."""
        try:
            if self._entry is None:
                cache = Cache.default()
                cache.sweep()
                self._entry = self._stack.enter_context(cache.entry())
            if not self._fault:
                self._entry.receive(file, start, content)
        except DataError as error:
            self._fault = str(error)

    def prepare(self, request: Request, cpus: int) -> Prepared:
        """Divide ``cpus`` cores among workers, and start them."""
        try:
            if self._fault:
                raise DataError(self._fault)
            return self._prepare(request, cpus)
        except (TreinoError, DataError) as error:
            return Prepared(0, fault=str(error))
        except OSError as error:
            return Prepared(0, fault=f"{error.filename or 'disk'}: {error.strerror}")

    def exchange(
        self, acknowledged: int, commands: Sequence[tuple[int, Command]]
    ) -> list[Delivery]:
        """Execute commands that are new, and return messages that are not acknowledged.

        Waits up to TURN for a message.

        Args:
            acknowledged: Number of the last message that the tuner has handled.
            commands: Commands with their numbers, in order.
        """
        self._outbox = [each for each in self._outbox if each.number > acknowledged]
        for number, command in commands:
            if number > self._executed:
                self._execute(command)
                self._executed = number
        for slot, message in self._backend.wait(0.0 if self._outbox else TURN):
            self._sent += 1
            self._outbox.append(Delivery(self._sent, slot, message, self._files(slot, message)))
            if isinstance(message, End):
                shutil.rmtree(self._here(self._jobs.pop(slot)).checkpoint.parent)
        return self._outbox

    def close(self) -> None:
        """Kill the workers and remove the agent's files."""
        self._stack.close()

    def _prepare(self, request: Request, cpus: int) -> Prepared:
        cache = Cache.default()
        images = cache.find(request.images) if self._entry is None else None
        if images is None:
            if self._entry is None:
                raise DataError("the images have gone from its cache")
            images = self._entry.complete(request.images)
        self._data = images.path
        workers = divide(request, cpus)
        sweep(cache.root / "cluster")
        self._folder = self._stack.enter_context(own_folder(cache.root / "cluster"))
        code = self._folder / "code"
        code.mkdir()
        for name, content in request.code.items():
            file = code / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        os.chdir(code)  # where workers look for the user's modules
        # Workers would run the program of this process again: Ray's, which they do not need.
        vars(sys.modules["__main__"]).pop("__file__", None)
        logs = cache.root / "logs" / checked_name(request.study)
        self._backend = self._stack.enter_context(LocalBackend(workers, logs))
        return Prepared(len(workers), told(workers), little_room(workers, request.largest))

    def _execute(self, command: Command) -> None:
        match command:
            case Start(slot, job, files):
                self._jobs[slot] = job
                here = self._here(job)
                here.checkpoint.parent.mkdir(parents=True, exist_ok=True)
                if "checkpoint" in files:
                    here.checkpoint.write_bytes(files["checkpoint"])
                self._backend.start(slot, here)
            case Answer(slot, verdict):
                self._backend.answer(slot, verdict)
            case Kill(slot, reason):
                self._backend.kill(slot, reason)

    def _here(self, job: Job) -> Job:
        """The job with the paths of this node."""
        folder = self._folder / "runs" / checked_name(job.run)
        model = job.model
        if isinstance(model, OwnSpec):
            place, _, function = model.code.rpartition(":")
            if place.endswith(".py"):
                place = str(self._folder / "code" / Path(place).name)
            model = model.model_copy(update={"code": f"{place}:{function}"})
        return replace(
            job,
            model=model,
            data=self._data,
            checkpoint=folder / "checkpoint.npz",
            save=job.save and folder / "model.keras",
            hand_over=job.hand_over and folder / "delivered.keras",
        )

    def _files(self, slot: int, message: Message) -> Mapping[File, bytes]:
        """The content of the files that a message says are complete."""
        here = self._here(self._jobs[slot])
        paths: dict[File, Path | None] = {}
        if isinstance(message, EpochDone):
            paths = {"checkpoint": here.checkpoint}
        elif isinstance(message, Done):
            paths = {"save": here.save, "hand_over": here.hand_over}
        return {file: path.read_bytes() for file, path in paths.items() if path is not None}


def divide(request: Request, cpus: int) -> list[Slot]:
    """Divide ``cpus`` cores, and the GPUs that Ray gave this process, as on a single machine.

    Raises:
        TreinoError: No worker has room for any network.
    """
    workers = slots(request.workers, request.largest, jobs=request.jobs, most_cores=cpus)
    check_room(workers, request.smallest)
    return workers


def versions() -> dict[str, str]:
    """What has to be the same on all nodes, so that their results are; by name."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for file in sorted((_ROOT / package).rglob("*.py")):
            digest.update(f"{file.relative_to(_ROOT)}\0".encode())
            digest.update(file.read_bytes())
    return {
        "treino": f"{version('treino')} ({digest.hexdigest()[:8]})",
        "TensorFlow": version("tensorflow"),
        "Keras": version("keras"),
        "Python": platform.python_version(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The type of this machine's processor."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _lack_of_disk(folder: Path, size: int) -> str:
    """Why a folder's disk has too little room for ``size`` bytes; empty if it has enough."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free, need = shutil.disk_usage(there).free, size + LEAST_DISK
    if free >= need:
        return ""
    return f"{folder} has {free / 2**30:.1f} GiB free and needs {need / 2**30:.1f} GiB"
