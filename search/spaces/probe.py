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
from typing import Any

from data.catalog import located
from data.dataset import Dataset
from models.keras_import import import_keras
from models.own_ranges import RANGES, Range, Value
from models.own_trial import OwnTrial, explore
from search import processes
from search.errors import SettingsError, TreinoError


@dataclass(frozen=True)
class Found:
    """Properties of a user's function.

    Attributes:
        code: The file's absolute path, or the module, a colon and the function's name.
        digest: Digest of the source.
        ranges: The ranges it suggests, by parameter.
        defaults: The defaults it gives, by parameter.
        scales: Whether its networks seem to scale their images, which have values 0 to 255.
        remarks: Further remarks on its networks, one line each.
    """

    code: str
    digest: str
    ranges: Mapping[str, Range]
    defaults: Mapping[str, Value]
    scales: bool
    remarks: tuple[str, ...] = ()


def reference(space: str) -> str:
    """The reference to the user's function for any process: files by their absolute path."""
    place, _, function = space.rpartition(":")
    if place.endswith(".py"):
        place = os.path.realpath(located(place))
    return f"{place}:{function}"


def find(
    space: str,
    input_shape: tuple[int, int, int],
    classes: int,
    log: Path,
    data: Path | None = None,
) -> Found:
    """Call the function that ``space`` names until it suggests no new parameters.

    Args:
        space: The function, as in the setting.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.
        log: File for its output.
        data: Folder of the decoded images, for a function that asks for some.

    Raises:
        SettingsError: The function cannot be used; the message has the user's lines.
        TreinoError: The process that ran it died.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    processes.preload()
    process = processes.start(
        _find, theirs, reference(space), input_shape, classes, log, data, name="treino probe"
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
    code, digest, ranges, defaults, scales, remarks = answer
    return Found(code, digest, RANGES.validate_json(ranges), defaults, scales, remarks)


def _find(
    channel: Connection,
    code: str,
    input_shape: tuple[int, int, int],
    classes: int,
    log: Path,
    data: Path | None,
) -> None:
    """Main function of the process: sends the result, or one line on what is wrong."""
    processes.leave_with_parent()
    processes.print_to(log, append=False)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no training, and the GPU may be busy
    import_keras()  # before what follows

    from models.own_errors import CodeChangedError, OwnCodeError

    # Each network tried is cleared away, by a look through all there is: a fifth of a second for
    # what was imported, which stays.
    gc.freeze()

    try:
        result = tried(code, input_shape, classes, data)
    except (OwnCodeError, CodeChangedError, ValueError) as error:
        channel.send(str(error))
    else:
        ranges = RANGES.dump_json(dict(result.ranges))
        channel.send(
            (result.code, result.digest, ranges, result.defaults, result.scales, result.remarks)
        )


def tried(
    code: str, input_shape: tuple[int, int, int], classes: int, data: Path | None = None
) -> Found:
    """Call a function in this process, as ``find`` does in another.

    Checks take most of the time. So a network is checked if it has a value, of those that
    ``explore`` tries, that no network had that was checked before.

    Args:
        code: The function, as ``reference`` names it.
        input_shape: Height, width and channels of an image.
        classes: Number of classes.
        data: Folder of the decoded images, for a function that asks for some.

    Raises:
        OwnCodeError: The function cannot be used, or prunes every trial.
        CodeChangedError: Its file has changed meanwhile.
        ValueError: It suggests an invalid range.
    """
    import keras

    from models import environment, own_network
    from models.own_call import sample
    from models.own_errors import OwnCodeError, OwnPrunedError
    from models.own_source import keras_settings_kept
    from models.own_view import check_loadable

    environment.restore_keras_home()
    scales = True
    built = 0
    pruned: list[str] = []
    defaults: dict[str, Value] = {}
    converted: dict[str, None] = {}
    checked: set[tuple[str, Value]] = set()

    def images() -> Any:
        assert data is not None
        return sample(Dataset.open(data).train)

    def call(trial: OwnTrial) -> None:
        nonlocal scales, built
        keras.backend.clear_session()
        try:
            with (
                keras_settings_kept(),
                own.called(trial, input_shape, classes, images) as model,
            ):
                ends = {n: range_.ends() for n, range_ in trial.ranges.items()}
                values = {(n, value) for n, value in trial.params.items() if value in ends[n]}
                if built and values <= checked:  # called only to find more parameters
                    built += 1
                    return
                network = own.checked(model, trial, input_shape, classes)
                check_loadable(network.model)
        except OwnPrunedError as error:
            pruned.append(str(error))
            return
        finally:
            for name, default in trial.defaults.items():
                defaults.setdefault(name, default)
        built += 1
        checked.update(values)
        scales = scales and network.scales
        remarks.update(dict.fromkeys(network.remarks))
        if network.converted:
            converted[network.converted] = None

    own = own_network.load(code)
    remarks = dict.fromkeys([own.remark] if own.remark else [])
    ranges = explore(call)
    if not built:
        raise OwnCodeError(f"it has no network for any values, these the last: {pruned[-1]}")
    if pruned:
        tried = f"{len(pruned)} of {built + len(pruned)} configurations tried"
        remarks[f"trials may be pruned at once, as {tried} were: {pruned[-1]}"] = None
    if converted:
        first, *others = converted
        more = f" and {len(others)} other sizes" if others else ""
        remarks[f"the images are converted to {first}{more} in front of its networks"] = None
    return Found(code, own.digest, ranges, defaults, scales, tuple(remarks))
