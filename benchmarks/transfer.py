"""Transfer between tasks: treino's warm start beside Syne Tune's methods, leaving one task out.

On LCBench. Every strategy that learns from earlier searches gets the same learning curves, those of
the other tasks (``benchmarks/other_tasks.py``). Part of ``make bench``. Finished replays are kept
in ``var/bench/replay.jsonl`` (``benchmarks.ledger``).
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import other_tasks
from benchmarks.ledger import FOLDER, call, results
from benchmarks.peers import installed
from benchmarks.peers.bridge import DRIVERS, Driven, Environment
from benchmarks.replay import budgets_in, table, told_workers, workers_in
from search.replay import lcbench
from search.replay import task_sources as tasks_of
from search.replay.comparison import Run
from search.replay.simulation import BUDGETS, Maker
from search.replay.strategies import STRATEGIES as OURS

SEEDS = 5
# The schedulers of Syne Tune 0.16 that learn from other tasks.
SYNETUNE = {
    "synetune-zero-shot": "ZeroShotTransfer",
    "synetune-bounding-box": "BoundingBoxBORE",
    "synetune-bounding-box-asha": "BoundingBoxASHA",
    "synetune-quantile": "QuantileBased",
}


def strategies(folder: Path, sources: Sequence[str]) -> dict[str, Maker]:
    """The strategies, which learn from the tasks ``sources``; the first one learns from none."""
    others = partial(other_tasks.of_other_tasks, folder, tuple(sources))
    driver = DRIVERS / "synetune_driver.py"
    return {
        "default-without-prior": OURS["default-without-prior"],
        "default-of-other-tasks": partial(other_tasks.informed, folder, tuple(sources)),
        **{
            name: Driven(Environment("synetune"), driver, {"scheduler": scheduler}, sources=others)
            for name, scheduler in SYNETUNE.items()
        },
    }


def main() -> None:
    """Print the tables, and write them to FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, required=True, help="folder of LCBench's surrogate")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=workers_in, default=(1,), help="by commas")
    parser.add_argument("--tasks", default=",".join(lcbench.TASKS), help="to search on, by commas")
    parser.add_argument("--sources", default=",".join(lcbench.TASKS), help="to learn from")
    parser.add_argument("--budgets", type=budgets_in, default=BUDGETS, help="in full trainings")
    arguments = parser.parse_args()
    names, sources = arguments.tasks.split(","), arguments.sources.split(",")
    lcbench.check(arguments.lcbench, sources)
    tasks = dict(zip(names, tasks_of.of_lcbench(arguments.lcbench, names), strict=True))
    makers, left_out = installed(strategies(arguments.lcbench, sources))
    print(*left_out, sep="\n", end="\n" if left_out else "")
    runs = [
        Run(name, task, seed, workers)
        for workers in arguments.workers
        for seed in range(arguments.seeds)
        for name in makers
        for task in range(len(tasks))
    ]
    means = results(tasks, makers, runs, arguments.budgets)
    replays = Counter((run.strategy, run.workers) for run in runs)
    lines = [f"# LCBench, {len(names)} tasks, each with the curves of the others", ""]
    for workers in arguments.workers:
        mine = [result for result in means if result.workers == workers]
        lines += [f"## {told_workers(workers)}", "", *table(mine, replays), ""]
    text = "\n".join(lines)
    (FOLDER / "transfer.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    call(main)
