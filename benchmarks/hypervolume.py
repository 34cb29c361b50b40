"""Hypervolume of the front of loss and size: treino's default beside its peers, over epochs.

On curves that ``treino record`` kept, with val_loss and the number of parameters, or of
multiply-adds per image, as objectives. Part of ``make bench``. ``benchmarks/fronts.py`` says what
is counted: more is better. The warm start of treino's default knows no curves of the same images.
Finished replays are kept in ``var/bench/hypervolume.jsonl`` (``benchmarks.ledger``).
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import fronts
from benchmarks.fronts import SIZES, SizedTable, hypervolumes
from benchmarks.ledger import FOLDER, call, results, table_name
from benchmarks.peers import installed, missing
from benchmarks.peers.fronts import ALONE
from benchmarks.peers.fronts import STRATEGIES as PEERS
from benchmarks.replay import budgets_in, table, told_workers, workers_in
from search.errors import SettingsError, TreinoError
from search.replay import tabular
from search.replay.comparison import Run, brief
from search.replay.simulation import BUDGETS, Maker
from search.replay.strategies import STRATEGIES as OURS
from search.scheduling import curves, front, targets
from search.spaces import network_sizes

FIGURED_BY = (tabular, fronts, front, targets, network_sizes)  # what the figures depend on
WORKERS = (1, 4)
SEEDS = 20
FEWER_SEEDS = {"optuna-gp": 5, "synetune-moasha": 5}  # they take long
SIDE, CLASSES = 16, 10  # of the images in search/scheduling/priors
STRATEGIES: Mapping[str, Maker] = {
    "default": fronts.default,
    "default-without-prior": fronts.without_prior,
    "default-loss-alone": OURS["default-left-out"],
    **PEERS,
}


def chosen(names: str) -> tuple[dict[str, Maker], list[str]]:
    """Strategies by their names, separated by commas, or all that are installed.

    Returns:
        The strategies, and one line for each that is left out.

    Raises:
        SettingsError: A strategy does not exist.
        TreinoError: A strategy that is named is not installed.
    """
    if names == "all":
        return installed(STRATEGIES)
    named = names.split(",")
    for name in named:
        if name not in STRATEGIES:
            expected = ", ".join(["all", *STRATEGIES])
            raise SettingsError(f"--strategies {name!r}: expected one of {expected}")
        if advice := missing(STRATEGIES[name]):
            raise TreinoError(f"{name} is not installed: {advice}")
    return {name: STRATEGIES[name] for name in named}, []


def _sizes_in(text: str) -> list[str]:
    sizes = text.split(",")
    if not {*sizes} <= {*SIZES}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(SIZES)}")
    return sizes


def main() -> None:
    """Print the tables, and write them to FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, nargs="+", required=True, help="of treino record")
    parser.add_argument("--image-size", type=int, default=SIDE, help=f"side in pixels; {SIDE}")
    parser.add_argument("--classes", type=int, default=CLASSES, help=str(CLASSES))
    parser.add_argument("--sizes", type=_sizes_in, default=SIZES, help="by commas")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=workers_in, default=WORKERS, help="by commas")
    parser.add_argument("--strategies", default="all", help=f"by commas; {', '.join(STRATEGIES)}")
    parser.add_argument("--budgets", type=budgets_in, default=BUDGETS, help="in full trainings")
    arguments = parser.parse_args()
    strategies, left_out = chosen(arguments.strategies)
    print(*left_out, sep="\n", end="\n" if left_out else "")
    texts = []
    for file in arguments.curves:
        recorded = curves.read(file)
        tabular.check(recorded, str(file))
        for size in arguments.sizes:
            make = partial(
                SizedTable, recorded, str(file), size, arguments.image_size, arguments.classes
            )
            name = (
                f"{table_name(file, *FIGURED_BY)}-{size}-{arguments.image_size}-{arguments.classes}"
            )
            title = f"# {file}: val_loss and {size}, recorded {brief(make().recorded)}"
            print(f"{title}: ", end="", flush=True)
            runs = [
                Run(name, 0, seed, workers)
                for workers in arguments.workers
                for name in strategies
                if workers == 1 or name not in ALONE
                for seed in range(min(arguments.seeds, FEWER_SEEDS.get(name, arguments.seeds)))
            ]
            means = results(
                {name: make},
                strategies,
                runs,
                arguments.budgets,
                file="hypervolume.jsonl",
                measure=hypervolumes,
            )
            replays = Counter((run.strategy, run.workers) for run in runs)
            lines = [title, ""]
            for workers in dict.fromkeys(run.workers for run in runs):
                mine = [result for result in means if result.workers == workers]
                lines += [f"## {told_workers(workers)}", "", *table(mine, replays), ""]
            texts.append("\n".join(lines))
    text = "\n".join(texts)
    (FOLDER / "hypervolume.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    call(main)
