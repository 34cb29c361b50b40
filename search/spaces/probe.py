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
    """Properties of a user's function.

    Attributes:
        code: The file's absolute path, or the module, a colon and the function's name.
        digest: Digest of the source.
        ranges: The ranges it suggests, by parameter.
        scales: Whether its networks seem to scale their images, which have values 0 to 255.
        remarks: Further remarks on its networks, one line each.
    """

    code: str
    digest: str
    ranges: Mapping[str, Range]
    scales: bool
    remarks: tuple[str, ...] = ()


def reference(space: str) -> str:
    """The reference to the user's function for any process: files by their absolute path."""
    place, _, function = space.rpartition(":")
    if place.endswith(".py"):
        place = os.path.realpath(located(place))
    return f"{place}:{function}"


def find(space: str, input_shape: tuple[int, int, int], classes: int, log: Path) -> Found:
    """Call the function that ``space`` names until it suggests no new parameters.

    Args:
        space: The function, as in the setting.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.
        log: File for its output.

    Raises:
        SettingsError: The function cannot be used; the message has the user's lines.
        TreinoError: The process that ran it died.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    processes.preload()
    process = processes.start(
        _find, theirs, reference(space), input_shape, classes, log, name="treino probe"
    )
    theirs.close()  # so that a dead process shows up as end of file
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
    """Main function of the process: sends the result, or one line on what is wrong."""
    processes.leave_with_parent()
    processes.print_to(log, append=False)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no training, and the GPU may be busy
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
    """Call a function in this process, as ``find`` does in another.

    Args:
        code: The function, as ``reference`` names it.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.

    Raises:
        OwnCodeError: The function cannot be used.
        CodeChangedError: Its file has changed meanwhile.
        ValueError: It suggests an invalid range.
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
