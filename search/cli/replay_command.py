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
    lcbench: Annotated[Path | None, typer.Option(help="Folder with the LCBench surrogate.")] = None,
    curves: Annotated[
        list[Path] | None,
        typer.Option(help="File of recorded learning curves; repeat for several."),
    ] = None,
    tasks: Annotated[str, typer.Option(help="LCBench tasks, separated by commas.")] = "",
    strategies: Annotated[
        str, typer.Option(help="Strategies, separated by commas, or own, peers or all.")
    ] = "own",
    seeds: Annotated[
        int, typer.Option(help="Seeds per strategy and task.", min=1, max=100_000)
    ] = 4,
    as_json: AsJson = False,
) -> None:
    """Compare search strategies on recorded learning curves, with simulated workers.

    The curves come from LCBench, from files, or else from the full trainings of a study.
    """
    from search.replay import task_sources
    from search.replay.comparison import compare, printed
    from search.replay.peers import chosen
    from search.workers.hardware import cores

    compared = chosen(strategies)
    if lcbench is not None and curves:
        raise SettingsError("--lcbench and --curves: expected only one of them")
    if tasks and lcbench is None:
        raise SettingsError(f"--tasks {tasks}: requires --lcbench")
    if lcbench is not None:
        sources = task_sources.of_lcbench(lcbench, tasks.split(",") if tasks else ())
    elif curves:
        sources = task_sources.of_files(curves)
    else:
        sources = task_sources.of_study(settings)
    total = len(compared) * len(sources) * seeds
    with progress_bar() as progress:
        finished = iter(range(1, total + 1))
        results = compare(
            sources,
            compared,
            seeds=seeds,
            workers=settings.workers or 1,
            processes=cores(),
            done=lambda: progress("replays", next(finished), total),
        )
    say(printed(results, as_json=as_json))
