"""`treino replay`."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import AsJson
from search.cli.options import with_settings
from search.console.terminal import (
    progress_bar,
    say,
)
from search.errors import SettingsError
from search.settings import Settings


@with_settings("study", "storage", "workers")
def replay(
    settings: Settings,
    lcbench: Annotated[
        Path | None, typer.Option(help="Folder with the surrogate of LCBench.")
    ] = None,
    curves: Annotated[
        list[Path] | None, typer.Option(help="File of recorded curves; may be given again.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks of LCBench, by commas.")] = "",
    strategies: Annotated[
        str, typer.Option(help="Ways to search, by commas; own, peers or all of them.")
    ] = "own",
    seeds: Annotated[int, typer.Option(help="Seeds of each on each task.", min=1, max=100_000)] = 4,
    as_json: AsJson = False,
) -> None:
    """Compare ways to search on learning curves that are known, with simulated workers.

    On LCBench, on files of recorded curves, or else on the whole trainings of a study.
    """
    from search.replay import task_sources as known
    from search.replay.comparison import compare, printed
    from search.replay.peers import chosen
    from search.workers.hardware import cores

    wanted = chosen(strategies)
    if lcbench is not None and curves:
        raise SettingsError("--lcbench and --curves: expected one of them")
    if tasks and lcbench is None:
        raise SettingsError(f"--tasks {tasks}: expected --lcbench with it, whose tasks they are")
    if lcbench is not None:
        where = known.of_lcbench(lcbench, tasks.split(",") if tasks else ())
    elif curves:
        where = known.of_files(curves)
    else:
        where = known.of_study(settings)
    total = len(wanted) * len(where) * seeds
    with progress_bar() as progress:
        finished = iter(range(1, total + 1))
        results = compare(
            where,
            wanted,
            seeds=seeds,
            workers=settings.workers or 1,
            processes=cores(),
            done=lambda: progress("replays", next(finished), total),
        )
    say(printed(results, as_json=as_json))
