"""A process that averages trained models. Its code, which needs Keras, is in ensemble_maker.py.

First it sends the probabilities that each candidate gives the classes of the validation images, one
candidate after the other. It then waits for an order, carries it out, and ends.
"""

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.spec import OwnSpec
from search import processes
from search.errors import TrainingFailedError
from search.protocol import TestFigures

TURN = 0.2  # seconds between two calls of what happens while waiting


@dataclass(frozen=True)
class Candidate:
    """A trained model that an ensemble may contain.

    Attributes:
        title: Its title, for messages.
        file: Its Keras file.
        code: The user's code that it needs to be loaded; None for stock layers.
    """

    title: str
    file: Path
    code: OwnSpec | None = None


@dataclass(frozen=True)
class EnsembleOrder:
    """What to make of the candidates.

    Attributes:
        single: Index of the single model that the ensemble is compared with.
        counts: How often each candidate counts in the ensemble; all 0 for no ensemble.
        file: File for the ensemble.
        monitor: The figure that the study selects by.
    """

    single: int
    counts: tuple[int, ...]
    file: Path
    monitor: str = "val_loss"


@dataclass(frozen=True)
class Measured:
    """Figures of a model, from its file.

    Attributes:
        val_loss: Mean cross-entropy on the validation images, in nats.
        val_accuracy: Share of them classified correctly, 0 to 1.
        milliseconds: Shortest time per image in ms, one image at a time, on this processor.
        watched: The monitored figure on the validation images, if it is not one of these.
    """

    val_loss: float
    val_accuracy: float
    milliseconds: float
    watched: float | None = None


@dataclass(frozen=True)
class Combined:
    """Results of an order.

    Attributes:
        single: Figures of the single model.
        ensemble: Figures of the ensemble; None if there is none.
        test: Its test results.
    """

    single: Measured
    ensemble: Measured | None = None
    test: TestFigures | None = None


class EnsembleProcess:
    """This end of the process.

    Args:
        process: The process.
        channel: The channel to it.
        candidates: Number of candidates.
        log: File with its output.
        keep_waiting: Called before each turn; waiting ends when it returns False.
    """

    def __init__(
        self,
        process: BaseProcess,
        channel: Connection,
        candidates: int,
        log: Path,
        keep_waiting: Callable[[], bool],
    ) -> None:
        self._process = process
        self._channel = channel
        self._candidates = candidates
        self._log = log
        self._keep_waiting = keep_waiting

    def probabilities(self, classified: Callable[[int], None]) -> npt.NDArray[np.float64] | None:
        """Probabilities of the classes, shape (candidates, validation images, classes).

        None if waiting ended.

        Args:
            classified: Called with the number of candidates that are done, after each.

        Raises:
            TrainingFailedError: A model cannot be used, or the process died.
        """
        probabilities: list[npt.NDArray[np.float64]] = []
        while len(probabilities) < self._candidates:
            answer = self._receive()
            if answer is None:
                return None
            probabilities.append(answer)
            classified(len(probabilities))
        return np.stack(probabilities)

    def carry_out(self, order: EnsembleOrder) -> Combined | None:
        """Make and measure the ensemble; None if waiting ended.

        Raises:
            TrainingFailedError: The model cannot be written, or the process died.
        """
        with suppress(OSError):  # it died just now: _receive() reports that
            self._channel.send(order)
        answer: Combined | None = self._receive()
        return answer

    def _receive(self) -> Any:
        there = False
        while not there:  # asked first: a process that answers at once is not waited for
            if not self._keep_waiting():
                return None
            there = bool(wait([self._channel, self._process.sentinel], TURN))
        try:
            # It may have answered before it ended, and a dead one has closed its end.
            answer = self._channel.recv() if self._channel.poll(TURN) else None
        except (EOFError, OSError):
            answer = None
        if answer is None:
            self._process.join(TURN)
            raise TrainingFailedError(
                f"ensemble: the process that averages the models died (exit code "
                f"{self._process.exitcode}); see {self._log}"
            )
        if isinstance(answer, str):
            raise TrainingFailedError(f"ensemble: {answer}")
        return answer


@contextmanager
def started(
    candidates: Sequence[Candidate], data: Path, log: Path, keep_waiting: Callable[[], bool]
) -> Iterator[EnsembleProcess]:
    """Run the process for the duration of the block.

    Args:
        candidates: The models.
        data: Folder of the decoded images.
        log: File for its output.
        keep_waiting: Called before each answer of the process and about five times a second while
            waiting for it; waiting ends when it returns False.
    """
    ours, theirs = multiprocessing.Pipe()
    processes.preload()
    process = processes.start(_run, theirs, tuple(candidates), data, log, name="treino ensemble")
    theirs.close()  # so that a dead process shows up as end of file
    try:
        yield EnsembleProcess(process, ours, len(candidates), log, keep_waiting)
    finally:
        process.kill()
        process.join()
        ours.close()


def _run(channel: Connection, candidates: tuple[Candidate, ...], data: Path, log: Path) -> None:
    """Main function of the process."""
    processes.leave_with_parent()
    processes.print_to(log, append=False)
    # Times per image are those of a processor: `treino predict` uses no GPU either.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
    # Imported by name: it imports TensorFlow, which modules of the tuner must not do.
    importlib.import_module("search.workers.ensemble_maker").serve(channel, candidates, data)
