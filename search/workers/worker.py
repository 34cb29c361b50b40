"""The code of a worker process: it takes a job, sends each epoch's figures, gets a verdict."""

import errno
import json
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from data.dataset import DataError, Dataset
from data.fold import folded
from models import callbacks, environment, training
from models.checkpoint import CheckpointWriteError
from models.history import EpochFigures
from models.latency import milliseconds
from models.operations import multiply_adds
from models.own_errors import CodeChangedError, OwnCodeError, OwnPrunedError, cause, told
from models.spec import OwnSpec
from search.protocol import (
    Done,
    End,
    EpochDone,
    Failed,
    Job,
    Message,
    NetworkSize,
    Paused,
    Resumed,
    Stopped,
    TestFigures,
    Verdict,
)
from storage.errors import StorageError
from storage.files import replacing


class Channel(Protocol):
    """The worker's end of the channel to the tuner."""

    def send(self, message: Message, /) -> None:
        """Send a message."""

    def recv(self) -> Any:
        """Wait for the tuner's next message."""


class PruningCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sends every epoch's figures to the tuner, and stops the training on its verdict.

    It has to be the last callback: the checkpoint of an epoch is saved before it is sent.

    Attributes:
        verdict: The tuner's last verdict.
        own: How a user's own network is trained and loaded, as JSON text.

    Args:
        channel: The channel to the tuner.
        run: Name of the training.
        epochs: Maximum epochs of the training.
    """

    def __init__(self, channel: Channel, *, run: str = "", epochs: int) -> None:
        super().__init__()
        self.verdict = Verdict.GO_ON
        self._channel = channel
        self._epochs = epochs
        self._run = run
        self._size: NetworkSize | None = None
        self._attributes: Mapping[str, Any] = {}
        self.own = ""

    def built(self, size: NetworkSize, own: training.OwnBuilt | None = None) -> None:
        """Record the network's size, and how the user's network is trained."""
        self._size = size
        if own is not None:
            self.own = json.dumps(own.described, default=lambda value: type(value).__name__)
            self._attributes = own.attributes

    def resumed(self, history: tuple[EpochFigures, ...], last: bool) -> None:
        """Report to the tuner where the training starts.

        Raises:
            BrokenOffError: The verdict is to pause or stop.
        """
        size = self._size
        assert size is not None
        self._ask(
            Resumed(
                history,
                last,
                size.parameters,
                self.own,
                self._attributes,
                size.operations,
                size.latency,
            )
        )
        if self.verdict is not Verdict.GO_ON and not last:
            raise BrokenOffError

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the current epoch, in case the worker dies."""
        print(f"{self._run}: epoch {epoch + 1}", flush=True)  # noqa: T201

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send the figures, wait for the verdict, and follow it."""
        figures = EpochFigures(**(logs or {}))
        last = self.model.stop_training or figures.epoch >= self._epochs
        print(f"{self._run}: epoch {figures.epoch} is saved", flush=True)  # noqa: T201
        self._ask(EpochDone(figures, last))
        if self.verdict is not Verdict.GO_ON:
            self.model.stop_training = True

    def _ask(self, message: Message) -> None:
        self._channel.send(message)
        self.verdict = self._channel.recv()


class TooLargeError(Exception):
    """The network has more weights or operations than allowed; the message has the number.

    Attributes:
        size: Its size.
    """

    def __init__(self, size: NetworkSize, excess: str) -> None:
        super().__init__(excess)
        self.size = size


class BrokenOffError(Exception):
    """The verdict before the first epoch of a job was to pause or stop."""


# A full disk or unusable files: not the training's fault.
_OF_THE_SYSTEM = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
}


def serve(channel: Connection, threads: int) -> None:
    """Train jobs from ``channel`` until its other end is closed."""
    environment.restore_keras_home()
    training.prepare_process(threads)
    while True:
        try:
            job = channel.recv()
        except EOFError:
            return
        channel.send(work(job, channel))
        keras.backend.clear_session()


def work(job: Job, channel: Channel) -> End:
    """Train one job; return how it ended."""
    try:
        return _train(job, channel)
    except callbacks.DivergedError as error:
        return Failed("diverged", str(error))
    except (CheckpointWriteError, CodeChangedError, StorageError, DataError) as error:
        return Failed("environment", str(error))
    except TooLargeError as error:
        return Failed("large", str(error), size=error.size)
    except OwnPrunedError as error:
        return Failed("pruned", str(error), error.attributes)
    except OwnCodeError as error:
        traceback.print_exc()
        return Failed("error", str(error))
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        return Failed("memory", f"out of memory: {cause(error)}")
    except (BrokenPipeError, ConnectionResetError):
        raise  # the tuner is gone
    except OSError as error:
        traceback.print_exc()
        if error.errno not in _OF_THE_SYSTEM:
            return Failed("error", _reason(error, job))
        where = f"{error.filename}: " if error.filename else ""
        return Failed("environment", f"{where}{error.strerror or cause(error)}")
    except Exception as error:  # noqa: BLE001 - any exception ends the trial, not the worker
        traceback.print_exc()  # into the worker's log
        return Failed("error", _reason(error, job))


def _train(job: Job, channel: Channel) -> End:
    data = Dataset.open(job.data)
    if job.fold is not None:
        data = folded(data, job.fold)
    pruning = PruningCallback(channel, run=job.run, epochs=job.training.epochs)
    latency = _latency(job, data) if job.size == "latency" else 0.0

    def built(network: keras.Model, own: training.OwnBuilt | None) -> None:
        # Networks of equal weights and operations share a latency.
        wanted = job.max_operations is not None or job.size in ("operations", "latency")
        # At least 1, because 0 stands for operations that were not counted.
        operations = max(multiply_adds(network), 1) if own is not None and wanted else 0
        size = NetworkSize(network.count_params(), operations, latency)
        _check_size(size, job)
        pruning.built(size, own)

    try:
        trained = training.fit(
            job.model,
            job.training,
            data,
            seed=job.seed,
            checkpoint=job.checkpoint,
            number=job.trial,
            built=built,
            resumed=pruning.resumed,
            callbacks=[pruning],
        )
    except BrokenOffError:
        trained = None
    if pruning.verdict is Verdict.PAUSE:
        return Paused()
    if pruning.verdict is Verdict.STOP:
        return Stopped()
    assert trained is not None
    if job.save is not None:
        with replacing(job.save) as path:
            trained.model.save(path)
    if job.hand_over is None:
        return Done()
    with replacing(job.hand_over) as path:
        trained.model.save(path)
    # Test the delivered file itself, as users will load it.
    model = keras.saving.load_model(job.hand_over, safe_mode=True)
    result = training.evaluate(model, data.test)
    confusion = tuple(tuple(int(n) for n in row) for row in result.confusion)
    return Done(
        TestFigures(
            result.loss,
            result.accuracy,
            confusion,
            model.count_params(),
            result.mistakes,
            pruning.own,
        )
    )


def _latency(job: Job, data: Dataset) -> float:
    """The time in ms for one image.

    Of a network of its own: the one that is trained is not touched, and may have layers that are
    not delivered.
    """
    network = training.untrained(job.model, data, job.trial)
    _check_size(NetworkSize(network.count_params()), job)
    (measured,) = milliseconds([network], np.asarray(data.train.images[0]))
    keras.backend.clear_session()
    return round(measured, 4)


def _check_size(size: NetworkSize, job: Job) -> None:
    if excess := size.excess(job.max_parameters, job.max_operations):
        raise TooLargeError(size, excess)


def _reason(error: Exception, job: Job) -> str:
    """The reason a training failed, in one line, with the user's lines if involved."""
    if not isinstance(job.model, OwnSpec):
        return cause(error)
    place = Path(job.model.code.rpartition(":")[0])
    return told(error, place.parent if place.suffix == ".py" else Path.cwd())
