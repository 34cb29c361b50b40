"""Replay regret of every strategy: treino's default beside its peers.

On LCBench, and on curves that ``treino record`` kept. Part of ``make bench``. Twenty seeds on
twelve tasks with three numbers of workers take hours, so each replay is a line of
``var/bench/replay.jsonl`` as soon as it ends, and a second call goes on from there. A line counts
for as long as the code and the package that made it are the same, and for all of its budgets.
"""

import argparse
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

from benchmarks.peers import GROUPS, PACKAGED, chosen, drafts, kerastuner
from benchmarks.peers.bridge import Driven
from search.errors import TreinoError
from search.replay import comparison, lcbench, simulation, strategies, tabular
from search.replay import task_sources as tasks_of
from search.replay.comparison import Result, Run, brief
from search.replay.simulation import BUDGETS, Maker, Task
from search.scheduling import prior, samplers
from search.workers.hardware import cores

FOLDER = Path("var/bench")
WORKERS = (1, 4, 16)
SEEDS = 20
# These take seconds for a decision: twenty seeds on many tasks take days. Their means are the less
# certain.
FEWER_SEEDS = {
    "ax": 1,
    "ax-early-stopping": 1,
    "kerastuner-bayesian": 3,
    "neps-bayesian": 1,
    "optuna-gp": 3,
    "smac-multi-fidelity": 3,
    "synetune-asha-bore": 1,
}
# What the regret of the default may be, as a share of the best packaged peer's.
SHARES = {3: 0.7, 5: 0.6, 10: 0.6, 20: 0.6, 40: 0.6}
RIVALS = ("three-epochs-then-best", "promote-tpe-3-9-27-52")


class Ledger:
    """Replays that have ended, on disk.

    A line without budgets, from before they could be chosen, is one of BUDGETS.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[str, ...], dict[int, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the last line of a call that was killed
                    continue
                self._keep(row, row.get("budgets", BUDGETS), row["regrets"])

    def get(self, row: Mapping[str, Any], budgets: Sequence[int] = BUDGETS) -> list[float] | None:
        """The regrets of a replay, if it has ended with all of these budgets."""
        found = self._found.get(self._key(row), {})
        return [found[budget] for budget in budgets] if found.keys() >= {*budgets} else None

    def add(
        self, row: Mapping[str, Any], regrets: Sequence[float], budgets: Sequence[int] = BUDGETS
    ) -> None:
        """Write a replay down."""
        self._keep(row, budgets, regrets)
        with self._path.open("a", encoding="utf-8") as file:
            line = {**row, "budgets": list(budgets), "regrets": list(regrets)}
            file.write("\n" + json.dumps(line))

    def _keep(
        self, row: Mapping[str, Any], budgets: Sequence[int], regrets: Sequence[float]
    ) -> None:
        found = self._found.setdefault(self._key(row), {})
        found.update(zip(budgets, regrets, strict=True))

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in ("strategy", "code", "task", "seed", "workers"))


def code_of(make: Maker) -> str:
    """What a strategy's figures depend on: its code, that of the replay, its package's release."""
    parts: list[Any] = [simulation.simulate, simulation.regrets]
    if isinstance(make, Driven):
        code = "".join(map(_parsed, parts)) + make.code()
        package, release = make.release()
    else:
        func = getattr(make, "func", make)
        home = inspect.getmodule(func)
        parts.append(func if home is strategies else home)
        records: list[Path] = []
        if home in (strategies, drafts):
            parts += [strategies.Promoting, strategies.with_records, strategies.with_prior]
            parts += _reached(samplers)
            records = sorted(prior.SHIPPED.glob("*.json"))
        code = "".join(map(_parsed, parts)) + repr(getattr(make, "args", ()))
        code += "".join(record.read_text(encoding="utf-8") for record in records)
        package = "keras-tuner" if home is kerastuner else "optuna"
        release = version(package)
    return f"{package}-{release}-{hashlib.sha256(code.encode()).hexdigest()[:12]}"


def _seeds(name: str, asked: int, tasks: int) -> int:
    return min(asked, FEWER_SEEDS.get(name, asked)) if tasks > 1 else asked


@cache
def _parsed(part: Any) -> str:
    """Code without its comments and its layout, which do not count."""
    return ast.dump(ast.parse(inspect.getsource(part)))


@cache
def _reached(module: ModuleType) -> tuple[ModuleType, ...]:
    """A module of search, and those that it has something from, and so on."""
    found, left = {}, [module.__name__]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = sys.modules[name]
            homes = {str(getattr(one, "__module__", "")) for one in vars(found[name]).values()}
            left += [home for home in homes if home.startswith("search.")]
    return tuple(found[name] for name in sorted(found))


def suites(
    folder: Path | None, names: Sequence[str], files: Sequence[Path]
) -> dict[str, dict[str, Callable[[], Task]]]:
    """What there is to replay on: the tasks by their names, in a table each of these."""
    found: dict[str, dict[str, Callable[[], Task]]] = {}
    if folder is not None:
        made = tasks_of.of_lcbench(folder, names)
        title = f"LCBench, {len(names)} tasks" if len(names) > 1 else f"LCBench, task {names[0]}"
        found[title] = dict(zip(names, made, strict=True))
    for file, make in zip(files, tasks_of.of_files(files), strict=True):
        # In the ledger a file is what is in it, and what is made of it: else it is another task.
        made_by = f"{_parsed(tabular)} scikit-learn {version('scikit-learn')}"
        digest = hashlib.sha256(file.read_bytes() + made_by.encode()).hexdigest()[:12]
        found[f"Curves of {file}"] = {f"{file.stem}-{digest}": make}
    return found


def measured(
    tasks: Mapping[str, Callable[[], Task]],
    strategies: Mapping[str, Maker],
    runs: Sequence[Run],
    budgets: Sequence[int],
) -> Iterator[tuple[Run, Sequence[float]]]:
    """Every run with its regrets, from the ledger or replayed now."""
    ledger = Ledger(FOLDER / "replay.jsonl")
    codes = {name: code_of(make) for name, make in strategies.items()}
    names = list(tasks)

    def row(run: Run) -> dict[str, Any]:
        return {**asdict(run), "task": names[run.task], "code": codes[run.strategy]}

    todo = []
    for run in runs:
        known = ledger.get(row(run), budgets)
        if known is None:
            todo.append(run)
        else:
            yield run, known
    left = Counter((run.strategy, run.workers) for run in todo)
    print(f"{len(runs) - len(todo)} replays are known, {len(todo)} to go", flush=True)
    for run, found in comparison.replays(
        list(tasks.values()), strategies, todo, budgets=budgets, processes=cores()
    ):
        regrets = [float(regret) for regret in found]
        ledger.add(row(run), regrets, budgets)
        yield run, regrets
        left[run.strategy, run.workers] -= 1
        if not left[run.strategy, run.workers]:
            print(f"{run.strategy}, {run.workers} workers: done", flush=True)


def report(results: Sequence[Result], replays: Mapping[tuple[str, int], int]) -> str:
    """Markdown: a table for each number of workers, and what is asked of the default beside it."""
    lines = []
    budgets = list(dict.fromkeys(result.budget for result in results))
    for workers in dict.fromkeys(result.workers for result in results):
        table: dict[str, dict[int, Result]] = {}
        for result in results:
            if result.workers == workers:
                table.setdefault(result.strategy, {})[result.budget] = result
        lines += [f"## {workers} workers" if workers > 1 else "## 1 worker", ""]
        lines.append("| strategy | replays | " + " | ".join(f"{b}x" for b in budgets) + " |")
        lines.append("|---|" + "---|" * (1 + len(budgets)))
        for name, row in table.items():
            figures = [f"{brief(row[b].regret)} ± {brief(row[b].spread)}" for b in budgets]
            lines.append(f"| {name} | {replays[name, workers]} | {' | '.join(figures)} |")
        if "default" in table:
            lines += ["", *_demands(table, [b for b in budgets if b in SHARES])]
        lines.append("")
    return "\n".join(lines)


def _demands(table: Mapping[str, Mapping[int, Result]], budgets: Sequence[int]) -> list[str]:
    """The default against the best packaged peer and the rivals, a line each budget.

    Where it was measured, the default that does not know curves of the same images.
    """
    lines = []
    left_out = "default-left-out" in table
    default = "default-left-out" if left_out else "default"
    peers = [name for name in table if name in PACKAGED]
    for budget in budgets:
        ours = table[default][budget].regret
        asked = {f"{name}'s {brief(r)}": r for name, r in _regrets(table, RIVALS, budget).items()}
        if peers:
            regrets = _regrets(table, peers, budget)
            best = min(regrets, key=lambda name: regrets[name])
            limit = SHARES[budget] * regrets[best]
            asked[f"{SHARES[budget]} of {best}'s {brief(regrets[best])}"] = limit
        said = ", ".join(
            f"{'at most' if ours <= limit else 'ABOVE'} {what}" for what, limit in asked.items()
        )
        row = f"{budget}x, {default}" if left_out else f"{budget}x"
        lines.append(f"- {row}: {brief(ours)}, {said}")
    return lines


def _regrets(
    table: Mapping[str, Mapping[int, Result]], names: Sequence[str], budget: int
) -> dict[str, float]:
    return {name: table[name][budget].regret for name in names if name in table}


def _budgets(text: str) -> tuple[int, ...]:
    try:
        budgets = tuple(sorted({int(budget) for budget in text.split(",")}))
    except ValueError:
        budgets = (0,)
    if budgets[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of full trainings, got {text}")
    return budgets


def main() -> None:
    """Print the tables, and write them to FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, help="folder of LCBench's surrogate")
    parser.add_argument("--curves", type=Path, nargs="*", default=[], help="of treino record")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)), help="by commas")
    parser.add_argument("--tasks", default=",".join(lcbench.TASKS), help="of LCBench, by commas")
    parser.add_argument("--strategies", default="all", help=f"by commas; {', '.join(GROUPS)}")
    parser.add_argument(
        "--budgets",
        type=_budgets,
        default=BUDGETS,
        help=f"in full trainings, by commas; {','.join(map(str, BUDGETS))}",
    )
    given = parser.parse_args()
    strategies, left_out = chosen(given.strategies)
    print(*left_out, sep="\n", end="\n" if left_out else "")
    if given.lcbench is None and not given.curves:
        parser.error("expected --lcbench or --curves")
    texts = []
    for title, tasks in suites(given.lcbench, given.tasks.split(","), given.curves).items():
        print(f"{title}: ", end="", flush=True)
        runs = [
            Run(name, task, seed, int(workers))
            for workers in given.workers.split(",")
            for name in strategies
            for seed in range(_seeds(name, given.seeds, len(tasks)))
            for task in range(len(tasks))
        ]
        found = {
            run: np.array(regrets)
            for run, regrets in measured(tasks, strategies, runs, given.budgets)
        }
        results = comparison.summary([(run, found[run]) for run in runs], given.budgets)
        tables = report(results, Counter((run.strategy, run.workers) for run in runs))
        texts.append(f"# {title}\n\n{tables}")
    text = "\n".join(texts)
    (FOLDER / "replay.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except TreinoError as error:
        sys.exit(f"treino: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; every replay that ended is kept: the same command goes on")
