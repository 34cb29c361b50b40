"""The code of the process that averages trained models; see ensemble_process.py."""

import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from data.dataset import DataError, Dataset
from models import environment, own_network
from models.ensemble import combine
from models.evaluation import OF_PREDICTIONS
from models.latency import milliseconds
from models.own_errors import CodeChangedError, OwnCodeError, cause
from models.training import classify, evaluate, evaluation_of
from search.errors import TrainingFailedError
from search.protocol import TestFigures
from search.workers.ensemble_process import Candidate, Combined, EnsembleOrder, Measured
from storage.errors import StorageError
from storage.files import replacing

Probabilities = npt.NDArray[np.float64]


def serve(channel: Connection, candidates: Sequence[Candidate], data: Path) -> None:
    """Send each candidate's probabilities of the classes, then carry out an order.

    Sends one line instead if something goes wrong.
    """
    try:
        images = Dataset.open(data)
        _run_code(candidates)
        probabilities = []
        for candidate in candidates:
            keras.backend.clear_session()  # one model at a time in memory
            probabilities.append(classify(_load(candidate), images.validation))
            channel.send(probabilities[-1])
        try:
            order = channel.recv()
        except EOFError:  # the other end has gone
            return
        channel.send(_carried_out(order, candidates, images, probabilities[order.single]))
    except (TrainingFailedError, DataError, StorageError, OwnCodeError, CodeChangedError) as error:
        channel.send(str(error))
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception as error:  # noqa: BLE001 - told in one line, with the traceback in the log
        traceback.print_exc()
        channel.send(cause(error))


def _run_code(candidates: Sequence[Candidate]) -> None:
    """Run the users' code that models need, which registers their custom objects.

    Raises:
        OwnCodeError: It raises, or is gone.
        CodeChangedError: It is not what the models were made with.
    """
    environment.restore_keras_home()
    for code, digest in {(c.code.code, c.code.digest) for c in candidates if c.code is not None}:
        if own_network.load(code).digest != digest:
            raise CodeChangedError(
                f"{code} is not what the models were made with: restore it to average them"
            )


def _carried_out(
    order: EnsembleOrder,
    candidates: Sequence[Candidate],
    images: Dataset,
    of_single: Probabilities,
) -> Combined:
    """``of_single`` are the single model's probabilities, (validation images, classes)."""
    image, labels = np.asarray(images.validation.images[0]), np.asarray(images.validation.labels)
    members = [index for index, count in enumerate(order.counts) if count]
    keras.backend.clear_session()
    if not members:
        (single_time,) = milliseconds([_load(candidates[order.single])], image)
        return Combined(_measured(of_single, labels, single_time, order.monitor))
    made = combine(
        [_load(candidates[index]) for index in members], [order.counts[index] for index in members]
    )
    with replacing(order.file) as path:
        made.save(path)
    # Test the delivered file itself, as users will load it.
    keras.backend.clear_session()
    model = keras.saving.load_model(order.file, safe_mode=True)
    single_time, ensemble_time = milliseconds([_load(candidates[order.single]), model], image)
    ensemble, single = (
        _measured(probabilities, labels, taken, order.monitor)
        for probabilities, taken in (
            (classify(model, images.validation), ensemble_time),
            (of_single, single_time),
        )
    )
    result = evaluate(model, images.test)
    confusion = tuple(tuple(int(n) for n in row) for row in result.confusion)
    test = TestFigures(
        result.loss, result.accuracy, confusion, model.count_params(), result.mistakes
    )
    return Combined(single, ensemble, test)


def _load(candidate: Candidate) -> keras.Model:
    try:
        return keras.saving.load_model(candidate.file, compile=False, safe_mode=True)
    except Exception as error:
        traceback.print_exc()
        raise TrainingFailedError(
            f"{candidate.title}: {candidate.file} could not be loaded ({cause(error)}); remove it "
            "and run the same command to train it again"
        ) from error


def _measured(
    probabilities: Probabilities, labels: npt.NDArray[np.int32], taken: float, monitor: str
) -> Measured:
    """The figures of a model that takes ``taken`` ms for one image."""
    evaluation = evaluation_of(probabilities, labels)
    figure = OF_PREDICTIONS.get(monitor)
    watched = None if figure is None else figure(probabilities, labels)
    return Measured(evaluation.loss, evaluation.accuracy, taken, watched)
