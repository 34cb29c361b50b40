"""Drives a peer that has a virtual environment of its own, in a process, with JSON lines.

``make bench`` makes an environment from each ``benchmarks/peers/requirements-NAME.txt``. The
protocol is that of ``benchmarks/peers/drivers/serve.py``.
"""

import ast
import inspect
import json
import os
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from optuna.distributions import distribution_to_json

from benchmarks.fronts import SizedTask
from search.errors import TreinoError
from search.replay.simulation import ReplayJob, Strategy, Task
from search.scheduling.curves import Curves
from search.spaces.unit_cube import Params

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / "var" / "bench"
DRIVERS = HERE / "drivers"
SERVE = DRIVERS / "serve.py"
GRACE_S = 10.0  # for a driver whose input has ended


@dataclass(frozen=True)
class Environment:
    """A peer's virtual environment.

    Attributes:
        name: It lies in ``var/bench/venv-NAME``; ``requirements-NAME.txt`` says what it has.
    """

    name: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ENVIRONMENTS / f"venv-{self.name}"

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    @property
    def target(self) -> str:
        """The target of make that installs it."""
        return f"var/bench/venv-{self.name}/installed"

    def installed(self) -> bool:
        """Whether its installation has finished."""
        return (self.folder / "installed").is_file()

    def releases(self) -> list[tuple[str, str]]:
        """The packages that its requirements name, with the releases that are installed.

        Raises:
            TreinoError: One of them is not installed.
        """
        requirements = HERE / f"requirements-{self.name}.txt"
        names = [
            line.partition("==")[0] for line in requirements.read_text(encoding="utf-8").split()
        ]
        path = [str(each) for each in self.folder.glob("lib/python*/site-packages")]
        releases = []
        for name in names:
            installed = next(iter(metadata.distributions(name=name, path=path)), None)
            if installed is None:
                raise TreinoError(f"{self.folder} has no {name}: make --always-make {self.target}")
            releases.append((name, installed.version))
        return releases


@dataclass(frozen=True)
class Driven:
    """Makes a strategy that a driver serves.

    Attributes:
        environment: Where the peer is installed.
        driver: The driver's file.
        options: The driver's own options.
        knows_budget: See ``search.replay.simulation.Strategy``.
        sources: The learning curves of other tasks, for a driver that learns from them; a partial
            of a module's function.
    """

    environment: Environment
    driver: Path
    options: Mapping[str, str] = field(default_factory=dict)
    knows_budget: bool = False
    sources: "partial[list[Curves]] | None" = None

    def __call__(self, task: Task, seed: int, workers: int, budget: int) -> Strategy:
        """Make the strategy; its process starts with the first request."""
        command = [str(self.environment.interpreter), "-s", str(SERVE), str(self.driver)]
        start = {
            "epochs": task.epochs,
            "distributions": {
                name: json.loads(distribution_to_json(d)) for name, d in task.distributions.items()
            },
            "seed": seed,
            "workers": workers,
            "budget": budget,
            "options": dict(self.options),
        }
        if self.sources is not None:
            start["sources"] = {
                curves.data: [
                    {"params": curve.params, "losses": curve.filled(curves.epochs)}
                    for curve in curves.configurations
                ]
                for curves in self.sources(task)
            }
        size = task.size if isinstance(task, SizedTask) else None
        return Bridge(command, start, knows_budget=self.knows_budget, size=size)

    def code(self) -> str:
        """What its figures depend on: the peer's packages, its options, the code that drives it."""
        code = "".join(_parsed(path) for path in (Path(__file__), SERVE, self.driver))
        if self.sources is not None:
            code += _parsed(Path(inspect.getfile(self.sources.func))) + repr(self.sources.args)
        return f"{code} {sorted(self.options.items())} {self.environment.releases()}"

    def release(self) -> tuple[str, str]:
        """The peer's package and its release: the first that its requirements name."""
        return self.environment.releases()[0]


class Bridge:
    """A strategy that another process serves, one request at a time."""

    def __init__(
        self,
        command: Sequence[str],
        start: Mapping[str, Any],
        *,
        knows_budget: bool = False,
        size: Callable[[Params], float] | None = None,
    ) -> None:
        """Serve with ``command``, whose last argument is the driver's file.

        With ``size``, the driver is told the size of a configuration beside each loss.
        """
        self.knows_budget = knows_budget
        self._size = size
        self._sizes: dict[int, list[float]] = {}  # by configuration; none without ``size``
        self._command = list(command)
        self._start = start
        self._process: subprocess.Popen[str] | None = None
        # A file, because a pipe that nobody reads would fill up and stop the driver.
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed with the strategy
        weakref.finalize(self, self._errors.close)

    def work(self) -> ReplayJob | None:
        """Ask for a job."""
        answer = self._ask({"work": True})
        if answer is None:
            return None
        match answer:
            case {"config": int(config), "params": dict(params)} if (
                params.keys() == self._start["distributions"].keys()
            ):
                self._sizes[config] = [self._size(params)] if self._size else []
                return ReplayJob(config, params)
        raise self._invalid("a job or null", answer)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Report the loss."""
        answer = self._ask({"epoch": [config, epoch, loss, *self._sizes.get(config, ())]})
        if not isinstance(answer, bool):
            raise self._invalid("true or false", answer)
        return answer

    def _ask(self, request: Mapping[str, Any]) -> Any:
        if self._process is None:
            self._process = self._started()
            self._send(self._start)
        self._send(request)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._died()
        try:
            return json.loads(line)
        except ValueError:
            raise self._invalid("a line of JSON", line.strip()) from None

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _started(self) -> "subprocess.Popen[str]":
        # Sets of strings have the same order in every run, so that a replay can be repeated. The
        # driver sees the packages of its own environment only.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environment.pop(name, None)
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                encoding="utf-8",
            )
        except OSError as error:
            raise TreinoError(f"{self._command[0]}: {error.strerror}") from error
        weakref.finalize(self, _end, process)
        return process

    def _died(self) -> TreinoError:
        assert self._process is not None
        code = _left(self._process)
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        last = lines[-1] if lines else "it printed no error"
        return TreinoError(f"{self._command[-1]}: the driver ended with exit code {code}: {last}")

    def _invalid(self, expected: str, answer: object) -> TreinoError:
        return TreinoError(f"{self._command[-1]}: expected {expected}, got {answer!r}")


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has already left
        process.stdin.close()
    _left(process)
    process.stdout.close()


def _left(process: "subprocess.Popen[str]") -> int:
    """The exit code of a driver, which leaves when its input ends; kill it if it does not."""
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@cache
def _parsed(path: Path) -> str:
    """A file's code without its comments and its layout, which do not count."""
    return ast.dump(ast.parse(path.read_text(encoding="utf-8")))
