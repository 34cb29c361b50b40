"""LCBench: learning curves of small networks on OpenML tasks, as a task for replays.

The surrogate of YAHPO Gym v1.0 (Pfisterer et al., 2022), fitted to LCBench (Zimmer, Lindauer,
Hutter, 2021): a folder with ``model.onnx``, ``encoding.json`` and ``config_space.json``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from search.errors import TreinoError
from search.spaces.unit_cube import Array, Params, UnitCube

EPOCHS = 52
SAMPLE = 2000  # random configurations that define the best and the middling loss
PART = 100  # curves per surrogate call
CROSS_ENTROPY = 2  # column of val_cross_entropy in the surrogate's output

# The development tasks: choices made on them have to hold on the others.
TASKS = (
    *("3945", "7593", "34539", "126025", "126026", "126029"),
    *("146212", "167104", "167149", "167152", "167161", "167168"),
)
# The surrogate's columns, in its order, after the epoch.
COLUMNS = (
    *("batch_size", "learning_rate", "momentum", "weight_decay"),
    *("num_layers", "max_units", "max_dropout"),
)


class LCBenchTask:
    """A task of LCBench; curves are computed on demand, 0.6 ms each.

    Attributes:
        name: Its number on OpenML.
        images: Empty: its curves are of tables.
        epochs: Length of a full training.
        distributions: The seven parameters.
        best: Lowest loss of the best of SAMPLE random configurations.
        middle: Lowest loss of the middling one.

    Args:
        folder: The surrogate's files.
        name: Number of the task.

    Raises:
        TreinoError: A file is missing or not LCBench's, or onnxruntime is not installed.
        KeyError: The task does not exist: see ``check``.
    """

    epochs = EPOCHS

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.images = ""
        self._code = int(_codes(folder)[name])
        self._session = _session(folder / "model.onnx")
        ranges = {h["name"]: h for h in _read(folder / "config_space.json")["hyperparameters"]}
        self.distributions: Mapping[str, BaseDistribution] = {
            column: _distribution(ranges[column]) for column in COLUMNS
        }
        coordinates = UnitCube(self.distributions)
        points = coordinates.uniform(SAMPLE, np.random.default_rng(0))
        curves = self._curves([coordinates.params(point) for point in points])
        lowest = np.sort(curves.min(axis=1))
        self.best, self.middle = float(lowest[0]), float(np.median(lowest))

    def curves(self) -> Callable[[Params], Array]:
        """Validation cross-entropy after each epoch, (52,), independent of earlier calls."""
        return self.curve

    def curve(self, params: Params) -> Array:
        """Validation cross-entropy after each epoch, (52,)."""
        curve: Array = self._curves([params])[0]
        return curve

    def _curves(self, configurations: Sequence[Params]) -> Array:
        # In parts, because the surrogate keeps the memory of its largest call.
        parts = [configurations[n : n + PART] for n in range(0, len(configurations), PART)]
        return np.concatenate([self._part(part) for part in parts])

    def _part(self, configurations: Sequence[Params]) -> Array:
        count = len(configurations)
        values = [[float(params[column]) for column in COLUMNS] for params in configurations]
        numbers = np.empty((count * EPOCHS, 1 + len(COLUMNS)), dtype=np.float32)
        numbers[:, 0] = np.tile(np.arange(1, EPOCHS + 1), count)
        numbers[:, 1:] = np.repeat(np.array(values), EPOCHS, axis=0)
        codes = np.full((count * EPOCHS, 1), self._code, dtype=np.int32)
        (figures,) = self._session.run(None, {"x_cat": codes, "x_cont": numbers})
        return np.array(figures[:, CROSS_ENTROPY], dtype=np.float64).reshape(count, EPOCHS)


def check(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder that is not LCBench's, or unknown tasks.

    Raises:
        TreinoError: A file is missing or not LCBench's, a task does not exist, or onnxruntime
            is not installed.
    """
    codes = _codes(folder)
    for name in names:
        if name not in codes:
            raise TreinoError(
                f"LCBench has no task {name!r}; it has {', '.join(sorted(codes)[1:])}"
            )
    _session(folder / "model.onnx")


def _codes(folder: Path) -> dict[str, Any]:
    """The surrogate's number of each task."""
    path = folder / "encoding.json"
    codes = _read(path).get("OpenML_task_id")
    if not isinstance(codes, dict):
        raise TreinoError(f"{path}: not LCBench's encoding: OpenML_task_id is missing")
    return codes


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TreinoError(f"{path}: not LCBench's file of that name ({error})") from error
    return content


@cache  # the tasks share it: it is large
def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise TreinoError(
            "LCBench needs onnxruntime: .venv/bin/pip install --constraint constraints.txt "
            "onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # replays run in parallel
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:
        raise TreinoError(f"{path}: not LCBench's surrogate ({error})") from error


def _distribution(range_: dict[str, Any]) -> BaseDistribution:
    kind = IntDistribution if range_["type"] == "uniform_int" else FloatDistribution
    return kind(range_["lower"], range_["upper"], log=range_["log"])
