"""`treino search` and `treino record`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import with_settings
from search.console.terminal import (
    leave_if_interrupted,
    load_images,
    printable,
    say,
)
from search.errors import TreinoError
from search.settings import OF_RECORD, OF_SEARCH, Settings, is_code


@with_settings(*OF_SEARCH)
def search(settings: Settings) -> None:
    """Run a study, or resume it, until it reaches its number of trials or its budget."""
    from search.tuning.observers import Observer

    observers: list[Observer] = []
    if settings.track:
        from search.tracking.observer import Tracking

        observers.append(Tracking(settings.track, settings.storage))
    data = load_images(settings).dataset
    _announce(settings)
    from search.reports import dashboard_notes
    from search.study.workspace import Workspace
    from search.tuning import audit, messages, run

    with Workspace.open(settings, write=True) as workspace:
        observers.append(dashboard_notes.DashboardNotes())
        searched = run.search(workspace, settings, data, observers=observers)
        interrupted = searched.interruption.asked
        study, outcome = searched.study, searched.outcome
        for line in messages.closing(study, outcome, workspace.layout, interrupted=interrupted):
            say(line)
        if searched.audited is not None and not interrupted:
            for line in audit.told(study, searched.audited, settings.monitor):
                say(line)
        elif (
            settings.audit and searched.audited is None and not interrupted and not outcome.trouble
        ):
            say("audit: skipped, no time left; use a longer --timeout, or none")
        untrained = messages.untrained(study)
    if outcome.trouble:
        raise TreinoError(f"search stopped: {outcome.trouble}")
    leave_if_interrupted(searched.interruption)
    if not outcome.trained:
        raise TreinoError(untrained)


@with_settings(*OF_RECORD)
def record(
    settings: Settings,
    configurations: Annotated[int, typer.Option(help="Number of configurations.", min=1)] = 60,
    out: Annotated[
        Path | None, typer.Option(help="Output file [default: in the study's folder].")
    ] = None,
) -> None:
    """Train random configurations in full, and store their learning curves for replays."""
    data = load_images(settings).dataset
    _announce(settings)
    from search.reports import dashboard_notes
    from search.scheduling import curves
    from search.study import recorded_curves
    from search.study.workspace import Workspace
    from search.tuning import messages, run

    settings = replace(
        settings,
        trials=configurations,
        sampler="random",
        pruner="none",
        early_stopping=False,
        documented=False,
        keep=0,
    )
    with Workspace.open(settings, write=True) as workspace:
        searched = run.search(
            workspace,
            settings,
            data,
            command="record",
            observers=[dashboard_notes.DashboardNotes()],
        )
        recorded = recorded_curves.of_study(searched.study, workspace.records)
        if recorded is not None:
            file = out or workspace.layout.curves(searched.study.study_name)
            curves.write(recorded, file)
            done = len(recorded.configurations)
            say(f"{done} of {configurations} configurations recorded in {file}")
        untrained = messages.untrained(searched.study)
    if searched.outcome.trouble:
        raise TreinoError(f"recording stopped: {searched.outcome.trouble}")
    leave_if_interrupted(searched.interruption)
    if not searched.outcome.trained:
        raise TreinoError(untrained)


def _announce(settings: Settings) -> None:
    """Say what the command does first if it takes long: try a user's own networks."""
    if is_code(settings.space):
        say(f"trying {printable(settings.space)} …")
