"""The local backend: workers are processes of this machine."""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from models import environment
from models.keras_import import import_keras
from search import processes
from search.protocol import Done, End, Failed, Job, Message, Paused, Stopped, Verdict
from search.workers.backends.base import Backend

GROWTH = 1.3  # a worker is replaced when its memory is this many times that after its first job
MOST_LOG = 2**20  # most bytes of a log before a worker starts a new one


@dataclass(frozen=True)
class Slot:
    """Resources of one worker.

    Attributes:
        threads: Processor threads.
        gpu: Its GPU, as CUDA_VISIBLE_DEVICES names it; None for none.
    """

    threads: int
    gpu: str | None = None


@dataclass
class _Worker:
    """A live process and this end of its channel."""

    process: BaseProcess
    channel: Connection
    first_memory: int | None = None  # resident bytes after its first job
    job: Job | None = None
    killed_because: str = ""


class LocalBackend(Backend):
    """One process per slot, started with the slot's first job and kept for the next ones.

    A process trains many jobs. It is replaced when its memory has grown, because training several
    models in one process leaks memory.
    """

    def __init__(self, slots: Sequence[Slot], logs: Path) -> None:
        """Prepare ``slots``; worker output goes to files in ``logs``, one per slot."""
        self._slots = slots
        self._logs = logs
        self._workers: dict[int, _Worker] = {}
        if any(slot.gpu is None for slot in slots):  # with GPUs only, nothing is forked
            processes.preload()

    @property
    def slots(self) -> Sequence[int]:
        """Numbers of the slots, from 0; they stay the same."""
        return range(len(self._slots))

    def start(self, slot: int, job: Job) -> None:
        """Start a job in a free slot, in a new process if there is none or it has grown."""
        worker = self._workers.get(slot)
        if worker is not None and not self._is_fit(worker):
            self._end(slot)
            worker = None
        if worker is None:
            worker = self._workers[slot] = self._spawn(slot)
        if worker.job is not None:
            raise RuntimeError(f"slot {slot} is busy with {worker.job.run}")
        worker.job = job
        with suppress(OSError):  # it died just now: wait() reports that
            worker.channel.send(job)

    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """Return messages with their slots."""
        busy = {slot: worker for slot, worker in self._workers.items() if worker.job is not None}
        handles = [handle for w in busy.values() for handle in (w.channel, w.process.sentinel)]
        ready = set(wait(handles, timeout))
        messages: list[tuple[int, Message]] = []
        for slot, worker in busy.items():
            if worker.channel in ready or worker.process.sentinel in ready:
                messages.append((slot, self._receive(slot, worker)))
        return messages

    def answer(self, slot: int, verdict: Verdict) -> None:
        """Answer the slot's Resumed or EpochDone."""
        with suppress(OSError):  # as in start()
            self._workers[slot].channel.send(verdict)

    def kill(self, slot: int, reason: str) -> None:
        """Kill the slot's process."""
        self._workers[slot].killed_because = reason
        self._workers[slot].process.kill()

    def close(self) -> None:
        """Kill every process."""
        for slot in list(self._workers):
            self._end(slot)

    def _spawn(self, slot: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        process = processes.start(
            _worker_process,
            theirs,
            self._slots[slot],
            self._logs / f"worker-{slot}.log",
            tuple(environment.changed),
            name=f"treino worker {slot}",
            afresh=self._slots[slot].gpu is not None,
        )
        theirs.close()  # so that a dead worker shows up as end of file
        return _Worker(process, ours)

    def _receive(self, slot: int, worker: _Worker) -> Message:
        """The worker's next message, or Failed if it died."""
        message: Message
        if not worker.channel.poll() and (pid := worker.process.pid):
            # Said to be dead, it would have closed its end: the server that watched it has died.
            os.kill(pid, signal.SIGKILL)
        try:
            # Messages sent before its death are still in the channel, and come first.
            message = worker.channel.recv()
        except (EOFError, OSError):
            worker.process.join()
            reason = worker.killed_because or self._how_it_died(slot, worker.process.exitcode)
            message = Failed("died", reason)
        if isinstance(message, End):
            worker.job = None
        if isinstance(message, Done | Paused | Stopped) and worker.first_memory is None:
            worker.first_memory = _memory(worker.process)
        return message

    def _how_it_died(self, slot: int, exitcode: int | None) -> str:
        code = exitcode or 0
        how = f"exit code {code}"
        if code < 0:
            how = signal.Signals(-code).name
            if code == -signal.SIGKILL:
                how += " (by hand, or the kernel was out of memory)"
        return f"its worker process died: {how}; see {self._logs / f'worker-{slot}.log'}"

    def _is_fit(self, worker: _Worker) -> bool:
        """Whether a process can train another job: alive, not killed just now, not grown."""
        if worker.killed_because or not worker.process.is_alive():
            return False
        first = worker.first_memory
        return first is None or _memory(worker.process) <= GROWTH * first

    def _end(self, slot: int) -> None:
        worker = self._workers.pop(slot)
        worker.process.kill()
        worker.process.join()
        worker.channel.close()


def _memory(process: BaseProcess) -> int:
    """Resident memory of a process in bytes; 0 if it is gone."""
    try:
        return int(psutil.Process(process.pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _worker_process(channel: Connection, slot: Slot, log: Path, left_out: tuple[str, ...]) -> None:
    """Main function of a worker process: set it up, then train jobs until the tuner is gone."""
    processes.leave_with_parent()
    with suppress(OSError):
        if log.is_file() and log.stat().st_size > MOST_LOG:
            log.replace(log.with_suffix(".old.log"))  # keep one old log for diagnosis
    processes.print_to(log, append=True)
    if left_out:
        print("ignored environment variables:", *left_out, flush=True)  # noqa: T201
    # Before TensorFlow is imported: it reads the environment only then.
    os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu or ""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbering of nvidia-smi
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
    import_keras()
    # Imported by name: it imports TensorFlow, which modules of the tuner must not do.
    importlib.import_module("search.workers.worker").serve(channel, slot.threads)
