"""The full state of a training in one file, from which it resumes exactly.

A Keras model file leaves out the states of the seed generators: after loading it, dropout would
draw other masks. A checkpoint holds every array that the next epoch depends on (weights,
optimiser, seed generators), the weights of the best epoch, and the history, from which callbacks
are restored. It contains only arrays, so nothing in the file can run code.
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.history import EpochFigures

Array = npt.NDArray[Any]

_META = "meta"
_FORMAT = 1


class CheckpointError(ModelError):
    """A checkpoint that is damaged or belongs to another network; the message is one line."""


class CheckpointWriteError(ModelError):
    """A checkpoint that could not be written, mostly for a full disk; a one-line message."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training at the end of an epoch.

    Attributes:
        history: The figures of every epoch so far.
        finished: Whether a callback ended the training at this epoch.
        state: Every array that the next epoch depends on, by name.
        best: The weights of the best epoch so far, in the order of ``model.get_weights()``;
            empty while no epoch had a finite val_loss.
    """

    history: tuple[EpochFigures, ...]
    finished: bool
    state: Mapping[str, Array]
    best: Sequence[Array]

    @property
    def epoch(self) -> int:
        """The number of epochs trained."""
        return len(self.history)

    def save(self, path: Path) -> None:
        """Write the checkpoint to ``path`` atomically; an existing one becomes ``path``.previous.

        At any time one of the two files is an intact checkpoint, even if the process is killed.

        Raises:
            CheckpointWriteError: The write failed; the existing checkpoint is unchanged.
        """
        meta = {
            "format": _FORMAT,
            "finished": self.finished,
            "history": [figures.to_dict() for figures in self.history],
        }
        arrays: dict[str, Array] = {f"state/{name}": array for name, array in self.state.items()}
        arrays |= {f"best/{number:04d}": array for number, array in enumerate(self.best)}
        arrays[_META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        new = path.with_name(f"{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                _flush(file.fileno())
            if path.exists():
                path.replace(previous(path))
            new.replace(path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)  # a partial checkpoint only fills the disk
            raise CheckpointWriteError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read the checkpoint at ``path``.

        Raises:
            FileNotFoundError: There is none.
            OSError: The file exists but cannot be read.
            CheckpointError: The file is damaged or of another format.
        """
        try:
            # Opened here, because np.load leaves files open that it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            meta = json.loads(bytes(arrays.pop(_META)))
            if meta["format"] != _FORMAT:
                raise CheckpointError(f"{path}: checkpoint format {meta['format']}, not {_FORMAT}")
            return cls(
                history=tuple(EpochFigures(**figures) for figures in meta["history"]),
                finished=bool(meta["finished"]),
                state={k.removeprefix("state/"): a for k, a in arrays.items() if k[:6] == "state/"},
                best=[arrays[name] for name in sorted(arrays) if name.startswith("best/")],
            )
        except CheckpointError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
                raise
            what = " ".join(str(error).split())
            raise CheckpointError(f"{path}: damaged checkpoint ({what})") from error


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:  # not supported by some network and FUSE file systems
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise


def previous(path: Path) -> Path:
    """Path of the checkpoint before the one at ``path``."""
    return path.with_name(f"{path.name}.previous")


def load_newest(path: Path) -> Checkpoint | None:
    """The newest intact checkpoint at ``path``, or the previous one; None if there is none.

    Damaged files are skipped; their epochs are trained again.

    Raises:
        OSError: A file exists but cannot be read.
    """
    for candidate in (path, previous(path)):
        try:
            return Checkpoint.load(candidate)
        except (FileNotFoundError, CheckpointError):
            continue
    return None


def state_of(model: keras.Model) -> dict[str, Array]:
    """Every array that the model's next training step depends on, by name.

    The model must be compiled and its optimiser built.
    """
    return {name: value.numpy() for name, value in _variables(model).items()}


def restore_state(model: keras.Model, state: Mapping[str, Array]) -> None:
    """Restore ``state`` into a compiled model of the same spec, with its optimiser built.

    Raises:
        CheckpointError: The state belongs to another network or optimiser.
    """
    variables = _variables(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in state.items()}:
        raise CheckpointError("the checkpoint is of another network or optimiser")
    for name, variable in variables.items():
        variable.assign(state[name])


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    # model.variables has weights and seed generators, and metrics, which are reset each epoch.
    # Names are numbers, because Keras numbers layers throughout a process: the same spec has
    # other paths than in a fresh process.
    seeds = [variable for variable in model.variables if "seed_generator" in variable.path]
    groups = {"weight": model.weights, "optimizer": model.optimizer.variables, "seed": seeds}
    return {
        f"{kind}_{number:04d}": variable
        for kind, variables in groups.items()
        for number, variable in enumerate(variables)
    }
