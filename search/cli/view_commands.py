"""`treino leaderboard`, `report`, `dashboard`, `data` and `studies`: commands that only read."""

from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.common import AsJson, Out, say_where
from search.cli.options import with_settings
from search.console.terminal import (
    console,
    load_images,
    print_json,
    say,
)
from search.errors import SettingsError, TreinoError
from search.settings import DATA, Settings


@with_settings("study", "storage")
def leaderboard(
    settings: Settings,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print only CSV on standard output.")
    ] = False,
) -> None:
    """Print trials, baselines, retrained models and the documents' figures in one table."""
    if as_json and as_csv:
        raise SettingsError("--json and --csv: expected one of them")
    from search.reports import leaderboard as board
    from search.study.workspace import Workspace

    with Workspace.open(settings, write=False) as workspace:
        study = workspace.study(settings.study) if settings.study else workspace.newest_study()
        title = f"study {study.study_name}" if study else "baselines"
        rows = board.rows(study, workspace.records, workspace.layout)
    if not rows:
        raise TreinoError("nothing has been trained yet: run `make search` first")
    if as_json:
        print_json([asdict(row) for row in rows])
    elif as_csv:
        say(board.to_csv(rows).rstrip("\n"))
    else:
        console().print(board.table(rows, title))


@with_settings("study", "storage")
def report(settings: Settings, out: Out = None) -> None:
    """Write a page about the study with figures: best trial, parameters, next steps."""
    from search.reports import report
    from search.study.workspace import Workspace
    from search.workers.hardware import cores

    with Workspace.open(settings, write=False) as workspace:
        study = workspace.study(settings.study)
        path = report.write(workspace, study, cores(), out)
        say_where(path.parent, out or workspace.layout.report(study.study_name))
    say(f"report: {path} (figures as PNG and SVG in the same folder)")


@with_settings("storage", "host", "port", "writable", "allow_host")
def dashboard(settings: Settings) -> None:
    """Show the studies in optuna-dashboard: by default on this machine only, and read-only."""
    from search.reports.dashboard import serve
    from search.study.workspace import Workspace

    with Workspace.open(settings, write=settings.writable) as workspace:
        serve(
            workspace.storage,
            workspace.layout.artifacts,
            host=settings.host,
            port=settings.port,
            writable=settings.writable,
            allowed=settings.allow_host,
            announce=say,
        )


@with_settings(*DATA)
def show_data(settings: Settings, as_json: AsJson = False) -> None:
    """List the images a search would use, and the problems with them."""
    data = load_images(settings, as_json=as_json).dataset
    from search.reports import listings

    if as_json:
        print_json(listings.images(data))
    else:
        console().print(listings.table_of_images(data))


@with_settings("storage")
def studies(settings: Settings, as_json: AsJson = False) -> None:
    """List the studies."""
    from search.reports import listings
    from search.study.workspace import Workspace
    from storage.study import summaries

    with Workspace.open(settings, write=False) as workspace:
        rows = summaries(workspace.storage, best_values=True)
    if not rows:
        raise TreinoError("there are no studies yet: run `make search` first")
    if as_json:
        print_json(listings.studies_as_json(rows))
    else:
        console().print(listings.table_of_studies(rows))
