"""Keeps what replays have come to, so that a call that was ended goes on where it was.

A replay is a line of a file as soon as it ends. A line counts for as long as the code and the
package that made it are the same, and for all of its budgets.
"""

import ast
import hashlib
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import fronts, other_tasks
from benchmarks.peers import drafts, kerastuner
from benchmarks.peers.bridge import Driven
from search.errors import TreinoError
from search.replay import comparison, simulation, strategies
from search.replay.comparison import Measure, Result, Run
from search.replay.simulation import BUDGETS, Maker, Task, regrets
from search.scheduling import prior, samplers
from search.workers.hardware import cores

FOLDER = Path("var/bench")


class Ledger:
    """Replays that have ended, on disk.

    A line without budgets, from before they could be chosen, is one of BUDGETS.
    """

    def __init__(self, path: Path, figures: str = "regrets") -> None:
        """Keep the ``figures`` of replays, one each budget, in the file ``path``."""
        self._path = path
        self._figures = figures
        self._figures_of: dict[tuple[str, ...], dict[int, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the last line of a call that was killed
                    continue
                self._keep(row, row.get("budgets", BUDGETS), row[figures])

    def get(self, row: Mapping[str, Any], budgets: Sequence[int] = BUDGETS) -> list[float] | None:
        """The figures of a replay, if it has ended with all of these budgets."""
        by_budget = self._figures_of.get(self._key(row), {})
        return [by_budget[budget] for budget in budgets] if by_budget.keys() >= {*budgets} else None

    def add(
        self, row: Mapping[str, Any], figures: Sequence[float], budgets: Sequence[int] = BUDGETS
    ) -> None:
        """Write a replay down."""
        self._keep(row, budgets, figures)
        with self._path.open("a", encoding="utf-8") as file:
            line = {**row, "budgets": list(budgets), self._figures: list(figures)}
            file.write("\n" + json.dumps(line))

    def _keep(
        self, row: Mapping[str, Any], budgets: Sequence[int], figures: Sequence[float]
    ) -> None:
        by_budget = self._figures_of.setdefault(self._key(row), {})
        by_budget.update(zip(budgets, figures, strict=True))

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in ("strategy", "code", "task", "seed", "workers"))


def code_of(make: Maker, measure: Measure = regrets) -> str:
    """What a strategy's figures depend on: its code, that of the replay, its package's release."""
    parts: list[Any] = [simulation.simulate, measure]
    if isinstance(make, Driven):
        code = "".join(map(_parsed, parts)) + make.code()
        package, release = make.release()
    else:
        func = getattr(make, "func", make)
        home = inspect.getmodule(func)
        parts.append(func if home is strategies else home)
        records: list[Path] = []
        if home in (strategies, drafts, fronts, other_tasks):
            parts += [strategies.Promoting, strategies.with_records, strategies.with_prior]
            parts += _reached(samplers)
            records = sorted(prior.SHIPPED.glob("*.json"))
        code = "".join(map(_parsed, parts)) + repr(getattr(make, "args", ()))
        code += "".join(record.read_text(encoding="utf-8") for record in records)
        package = "keras-tuner" if home is kerastuner else "optuna"
        release = version(package)
    return f"{package}-{release}-{hashlib.sha256(code.encode()).hexdigest()[:12]}"


def table_name(file: Path, *modules: ModuleType) -> str:
    """The name in the ledger of a file of curves, of which ``modules`` make a task.

    With another content, or other code, it is another task.
    """
    made_by = f"{''.join(map(_parsed, modules))} scikit-learn {version('scikit-learn')}"
    digest = hashlib.sha256(file.read_bytes() + made_by.encode()).hexdigest()[:12]
    return f"{file.stem}-{digest}"


def measured(
    tasks: Mapping[str, Callable[[], Task]],
    strategies: Mapping[str, Maker],
    runs: Sequence[Run],
    budgets: Sequence[int],
    *,
    file: str = "replay.jsonl",
    measure: Measure = regrets,
) -> Iterator[tuple[Run, Sequence[float]]]:
    """Every run with its figures, from the ledger or replayed now.

    Args:
        tasks: Factories of the tasks, by their names in the ledger.
        strategies: Strategies by name.
        runs: The runs.
        budgets: In full trainings.
        file: The ledger's name in FOLDER.
        measure: What is measured of a replay.
    """
    ledger = Ledger(FOLDER / file, measure.__name__)
    codes = {name: code_of(make, measure) for name, make in strategies.items()}
    names = list(tasks)

    def row(run: Run) -> dict[str, Any]:
        return {**asdict(run), "task": names[run.task], "code": codes[run.strategy]}

    todo = []
    for run in runs:
        figures = ledger.get(row(run), budgets)
        if figures is None:
            todo.append(run)
        else:
            yield run, figures
    left = Counter((run.strategy, run.workers) for run in todo)
    print(f"{len(runs) - len(todo)} replays are known, {len(todo)} to go", flush=True)
    for run, measures in comparison.replays(
        list(tasks.values()), strategies, todo, budgets=budgets, processes=cores(), measure=measure
    ):
        figures = [float(figure) for figure in measures]
        ledger.add(row(run), figures, budgets)
        yield run, figures
        left[run.strategy, run.workers] -= 1
        if not left[run.strategy, run.workers]:
            print(f"{run.strategy}, {run.workers} workers: done", flush=True)


def results(
    tasks: Mapping[str, Callable[[], Task]],
    strategies: Mapping[str, Maker],
    runs: Sequence[Run],
    budgets: Sequence[int],
    **options: Any,
) -> list[Result]:
    """The mean of each strategy over its runs. Arguments as of ``measured``."""
    figures = dict(measured(tasks, strategies, runs, budgets, **options))
    return comparison.summary([(run, np.array(figures[run])) for run in runs], budgets)


def call(main: Callable[[], None]) -> None:
    """Call a benchmark's ``main``; errors of the user and Ctrl-C end it with one line."""
    try:
        main()
    except TreinoError as error:
        sys.exit(f"treino: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; every replay that ended is kept: the same command goes on")


@cache
def _reached(module: ModuleType) -> tuple[ModuleType, ...]:
    """A module of search, and those that it has something from, and so on."""
    modules, left = {}, [module.__name__]
    while left:
        name = left.pop()
        if name not in modules:
            modules[name] = sys.modules[name]
            homes = {str(getattr(one, "__module__", "")) for one in vars(modules[name]).values()}
            left += [home for home in homes if home.startswith("search.")]
    return tuple(modules[name] for name in sorted(modules))


@cache
def _parsed(part: Any) -> str:
    """Code without its comments and its layout, which do not count."""
    return ast.dump(ast.parse(inspect.getsource(part)))
