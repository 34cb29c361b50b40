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
from models.latency import milliseconds
from models.own_errors import CodeChangedError, OwnCodeError, cause
from models.training import Evaluation, classify, evaluate, evaluation_of
from search.errors import TrainingFailedError
from search.protocol import TestFigures
from search.workers.ensemble_process import Candidate, Combined, EnsembleOrder, Measured
from storage.errors import StorageError
from storage.files import replacing


def serve(channel: Connection, candidates: Sequence[Candidate], data: Path) -> None:
    """Send the probabilities of the true classes, then carry out an order from ``channel``.

    Sends one line instead if something goes wrong.
    """
    try:
        images = Dataset.open(data)
        _run_code(candidates)
        evaluations, of_truth = _validated(candidates, images)
        channel.send(of_truth)
        try:
            order = channel.recv()
        except EOFError:  # the other end has gone
            return
        channel.send(_carried_out(order, candidates, images, evaluations))
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


def _validated(
    candidates: Sequence[Candidate], images: Dataset
) -> tuple[list[Evaluation], npt.NDArray[np.float64]]:
    """Each candidate's results on the validation images, and its probabilities of the truth."""
    labels = np.asarray(images.validation.labels)
    evaluations: list[Evaluation] = []
    of_truth = np.empty((len(candidates), len(labels)))
    for row, candidate in enumerate(candidates):
        keras.backend.clear_session()  # one model at a time in memory
        probabilities = classify(_load(candidate), images.validation)
        evaluations.append(evaluation_of(probabilities, labels))
        of_truth[row] = probabilities[np.arange(len(labels)), labels]
    return evaluations, of_truth


def _carried_out(
    order: EnsembleOrder,
    candidates: Sequence[Candidate],
    images: Dataset,
    evaluations: Sequence[Evaluation],
) -> Combined:
    image = np.asarray(images.validation.images[0])
    of_single = evaluations[order.single]
    members = [index for index, count in enumerate(order.counts) if count]
    keras.backend.clear_session()
    if not members:
        (single_time,) = milliseconds([_load(candidates[order.single])], image)
        return Combined(_measured(of_single, single_time))
    made = combine(
        [_load(candidates[index]) for index in members], [order.counts[index] for index in members]
    )
    with replacing(order.file) as path:
        made.save(path)
    # Test the delivered file itself, as users will load it.
    keras.backend.clear_session()
    model = keras.saving.load_model(order.file, safe_mode=True)
    single_time, ensemble_time = milliseconds([_load(candidates[order.single]), model], image)
    ensemble = _measured(evaluate(model, images.validation), ensemble_time)
    result = evaluate(model, images.test)
    confusion = tuple(tuple(int(n) for n in row) for row in result.confusion)
    test = TestFigures(
        result.loss, result.accuracy, confusion, model.count_params(), result.mistakes
    )
    return Combined(_measured(of_single, single_time), ensemble, test)


def _load(candidate: Candidate) -> keras.Model:
    try:
        return keras.saving.load_model(candidate.file, compile=False, safe_mode=True)
    except Exception as error:
        traceback.print_exc()
        raise TrainingFailedError(
            f"{candidate.title}: {candidate.file} could not be loaded ({cause(error)}); remove it "
            "and run the same command to train it again"
        ) from error


def _measured(evaluation: Evaluation, milliseconds: float) -> Measured:
    return Measured(evaluation.loss, evaluation.accuracy, milliseconds)
