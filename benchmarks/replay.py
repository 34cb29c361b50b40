"""Replay regret of every strategy: treino's default beside its peers.

On LCBench, and on curves that ``treino record`` kept. Part of ``make bench``. Twenty seeds on
twelve tasks with three numbers of workers take hours, so finished replays are kept in
``var/bench/replay.jsonl`` (``benchmarks.ledger``), and a second call goes on from there.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.ledger import FOLDER, call, results, table_name
from benchmarks.peers import GROUPS, PACKAGED, chosen
from search.replay import lcbench, tabular
from search.replay import task_sources as tasks_of
from search.replay.comparison import Result, Run, brief
from search.replay.simulation import BUDGETS, Task

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


def _seeds(name: str, most: int, tasks: int) -> int:
    return min(most, FEWER_SEEDS.get(name, most)) if tasks > 1 else most


def suites(
    folder: Path | None, names: Sequence[str], files: Sequence[Path]
) -> dict[str, dict[str, Callable[[], Task]]]:
    """What there is to replay on: the tasks by their names, in a table each of these."""
    tables: dict[str, dict[str, Callable[[], Task]]] = {}
    if folder is not None:
        made = tasks_of.of_lcbench(folder, names)
        title = f"LCBench, {len(names)} tasks" if len(names) > 1 else f"LCBench, task {names[0]}"
        tables[title] = dict(zip(names, made, strict=True))
    for file, make in zip(files, tasks_of.of_files(files), strict=True):
        tables[f"Curves of {file}"] = {table_name(file, tabular): make}
    return tables


def report(results: Sequence[Result], replays: Mapping[tuple[str, int], int]) -> str:
    """Markdown: a table for each number of workers, and what is asked of the default beside it."""
    lines = []
    for workers in dict.fromkeys(result.workers for result in results):
        mine = [result for result in results if result.workers == workers]
        lines += [f"## {told_workers(workers)}", "", *table(mine, replays)]
        by_name: dict[str, dict[int, Result]] = {}
        for result in mine:
            by_name.setdefault(result.strategy, {})[result.budget] = result
        if "default" in by_name:
            budgets = [result.budget for result in by_name["default"].values()]
            lines += ["", *_demands(by_name, [b for b in budgets if b in SHARES])]
        lines.append("")
    return "\n".join(lines)


def told_workers(count: int) -> str:
    """So many workers, in words."""
    return "1 worker" if count == 1 else f"{count} workers"


def table(results: Sequence[Result], replays: Mapping[tuple[str, int], int]) -> list[str]:
    """Lines of Markdown: a row each strategy, a column each budget.

    Args:
        results: With the same number of workers.
        replays: Number of replays by strategy and number of workers.
    """
    budgets = list(dict.fromkeys(result.budget for result in results))
    lines = ["| strategy | replays | " + " | ".join(f"{budget}x" for budget in budgets) + " |"]
    lines.append("|---|" + "---|" * (1 + len(budgets)))
    for name, workers in dict.fromkeys((result.strategy, result.workers) for result in results):
        row = {result.budget: result for result in results if result.strategy == name}
        figures = [f"{brief(row[b].regret)} ± {brief(row[b].spread)}" for b in budgets]
        lines.append(f"| {name} | {replays[name, workers]} | {' | '.join(figures)} |")
    return lines


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
        limits = {f"{name}'s {brief(r)}": r for name, r in _regrets(table, RIVALS, budget).items()}
        if peers:
            regrets = _regrets(table, peers, budget)
            best = min(regrets, key=lambda name: regrets[name])
            limit = SHARES[budget] * regrets[best]
            limits[f"{SHARES[budget]} of {best}'s {brief(regrets[best])}"] = limit
        if not limits:
            continue
        said = ", ".join(
            f"{'at most' if ours <= limit else 'ABOVE'} {what}" for what, limit in limits.items()
        )
        row = f"{budget}x, {default}" if left_out else f"{budget}x"
        lines.append(f"- {row}: {brief(ours)}, {said}")
    return lines


def _regrets(
    table: Mapping[str, Mapping[int, Result]], names: Sequence[str], budget: int
) -> dict[str, float]:
    return {name: table[name][budget].regret for name in names if name in table}


def budgets_in(text: str) -> tuple[int, ...]:
    """The budgets of an option, by commas."""
    try:
        budgets = tuple(sorted({int(budget) for budget in text.split(",")}))
    except ValueError:
        budgets = (0,)
    if budgets[0] < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of full trainings, got {text}")
    return budgets


def workers_in(text: str) -> list[int]:
    """The numbers of workers of an option, by commas."""
    counts = text.split(",")
    if not all(count.isdecimal() and int(count) for count in counts):
        raise argparse.ArgumentTypeError(f"expected numbers of workers, got {text}")
    return [int(count) for count in counts]


def main() -> None:
    """Print the tables, and write them to FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, help="folder of LCBench's surrogate")
    parser.add_argument("--curves", type=Path, nargs="*", default=[], help="of treino record")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=workers_in, default=WORKERS, help="by commas")
    parser.add_argument("--tasks", default=",".join(lcbench.TASKS), help="of LCBench, by commas")
    parser.add_argument("--strategies", default="all", help=f"by commas; {', '.join(GROUPS)}")
    parser.add_argument(
        "--budgets",
        type=budgets_in,
        default=BUDGETS,
        help=f"in full trainings, by commas; {','.join(map(str, BUDGETS))}",
    )
    arguments = parser.parse_args()
    strategies, left_out = chosen(arguments.strategies)
    print(*left_out, sep="\n", end="\n" if left_out else "")
    if arguments.lcbench is None and not arguments.curves:
        parser.error("expected --lcbench or --curves")
    texts = []
    for title, tasks in suites(
        arguments.lcbench, arguments.tasks.split(","), arguments.curves
    ).items():
        print(f"{title}: ", end="", flush=True)
        runs = [
            Run(name, task, seed, workers)
            for workers in arguments.workers
            for name in strategies
            for seed in range(_seeds(name, arguments.seeds, len(tasks)))
            for task in range(len(tasks))
        ]
        means = results(tasks, strategies, runs, arguments.budgets)
        tables = report(means, Counter((run.strategy, run.workers) for run in runs))
        texts.append(f"# {title}\n\n{tables}")
    text = "\n".join(texts)
    (FOLDER / "replay.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    call(main)
