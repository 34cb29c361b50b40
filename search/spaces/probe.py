"""Finds the parameters of a user's own function, in a separate process.

The tuner runs neither user code nor Keras. It only gets the ranges.
"""

import gc
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from data.catalog import located
from models.own_trial import RANGES, OwnTrial, Range, explore
from search import processes
from search.errors import SettingsError, TreinoError


@dataclass(frozen=True)
class Found:
    """What a user's function is.

    Attributes:
        code: The file's absolute path, or the module, a colon and the function's name.
        digest: Of the source.
        ranges: What it asks for, by parameter.
        scales: Whether its networks seem to scale their images, which come as 0 to 255.
        remarks: What else there is to be said of its networks, a line each.
    """

    code: str
    digest: str
    ranges: Mapping[str, Range]
    scales: bool
    remarks: tuple[str, ...] = ()


def reference(space: str) -> str:
    """The user's function as any process finds it: a file by its absolute path."""
    place, _, function = space.rpartition(":")
    if place.endswith(".py"):
        place = os.path.realpath(located(place))
    return f"{place}:{function}"


def find(space: str, input_shape: tuple[int, int, int], classes: int, log: Path) -> Found:
    """Try the function that ``space`` names until nothing new comes of it.

    Args:
        space: The function, as the setting names it.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.
        log: Where what it prints goes.

    Raises:
        SettingsError: It cannot be used; the message has the user's lines.
        TreinoError: The process in which it was tried died.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    processes.preload()
    process = processes.start(
        _find, theirs, reference(space), input_shape, classes, log, name="treino probe"
    )
    theirs.close()  # so that a dead process reads as an end of file
    try:
        answer = ours.recv()
    except EOFError:
        process.join()
        raise TreinoError(
            f"--space {space}: the process that ran it died (exit code {process.exitcode}); "
            f"see {log}"
        ) from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(answer, str):
        raise SettingsError(f"--space {space}: {answer}")
    code, digest, ranges, scales, remarks = answer
    return Found(code, digest, RANGES.validate_json(ranges), scales, remarks)


def _find(
    channel: Connection, code: str, input_shape: tuple[int, int, int], classes: int, log: Path
) -> None:
    """What runs in the process: answers with what was found, or with a line of what is wrong."""
    processes.leave_with_parent()
    processes.print_to(log, append=False)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nothing is trained, and the GPU may be busy
    import keras  # noqa: F401 - before what follows

    from models.own_errors import CodeChangedError, OwnCodeError

    # Each network tried is cleared away, by a look through all there is: a fifth of a second for
    # what was imported, which stays.
    gc.freeze()

    try:
        found = tried(code, input_shape, classes)
    except (OwnCodeError, CodeChangedError, ValueError) as error:
        channel.send(str(error))
    else:
        ranges = RANGES.dump_json(dict(found.ranges))
        channel.send((found.code, found.digest, ranges, found.scales, found.remarks))


def tried(code: str, input_shape: tuple[int, int, int], classes: int) -> Found:
    """Try a function in this process, as ``find`` does in another.

    Args:
        code: The function, as ``reference`` names it.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.

    Raises:
        OwnCodeError: It cannot be used.
        CodeChangedError: Its file was changed meanwhile.
        ValueError: What it asks for is no range.
    """
    import keras

    from models import environment, own_network
    from models.own_source import keras_settings_kept
    from models.own_view import check_loadable

    environment.restore_keras_home()
    scales = True
    remarks: dict[str, None] = {}

    def call(trial: OwnTrial) -> None:
        nonlocal scales
        keras.backend.clear_session()
        with keras_settings_kept():
            network = own.build(trial, input_shape, classes)
            check_loadable(network.model)
        scales = scales and network.scales
        remarks.update(dict.fromkeys(network.remarks))

    own = own_network.load(code)
    ranges = explore(call)
    return Found(code, own.digest, ranges, scales, tuple(remarks))
