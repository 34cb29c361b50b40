"""`treino claims`."""

from typing import Annotated

import typer

from search.cli.common import AsJson, Out, say_where
from search.cli.options import is_typed, with_settings
from search.console.terminal import (
    console,
    leave_if_interrupted,
    print_json,
    progress_bar,
)
from search.console.text import plural
from search.errors import SettingsError, TreinoError
from search.settings import Settings


@with_settings("study", "storage", "storage_patience", "workers", "cluster", "settle_epochs")
def claims(
    settings: Settings,
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of the claims to settle [default: all].")
    ] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Train the missing pairs first.")
    ] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Test the documents' claims: verdicts, figures, and trainings that would settle them."""
    from search.claims import pairing, plots, text
    from search.claims.catalog import CLAIMS
    from search.claims.collect import settler
    from search.claims.verdicts import judge
    from search.study.workspace import Workspace, data_of, space_of
    from storage.files import folder_to_write

    claims_by_name = {claim.name: claim for claim in CLAIMS}
    for name in names or ():
        if name not in claims_by_name:
            raise SettingsError(
                f"unknown claim {name!r}; expected one of {', '.join(claims_by_name)}"
            )
    if (names or is_typed(context, "settle_epochs")) and not settle:
        raise SettingsError("names of claims and --budget-epochs require --settle")
    interruption = None
    failed: list[str] = []
    with Workspace.open(settings, write=settle) as workspace:
        study = workspace.study(settings.study)
        if settle:
            with progress_bar() as progress:
                data = data_of(study, progress)
            with settler(
                workspace,
                study,
                space_of(study),
                data,
                claims=[claims_by_name[name] for name in names or claims_by_name],
                workers=settings.workers,
                epochs=settings.settle_epochs,
                cluster=settings.cluster,
                aside=as_json,
            ) as pairs:
                interruption = pairs.session.interruption
                pairs.run()
                failed = pairs.failed
        view = pairing.view_of(study, workspace.records)
        verdicts = judge(view)
        files = {name: workspace.layout.claims(study.study_name, name) for name in claims_by_name}
        own = next(iter(files.values())).parent
        folder = out or folder_to_write(own)
        say_where(folder, out or own)
        files = {name: folder / file.name for name, file in files.items()}
    for verdict in verdicts:
        plots.draw(verdict, view, files[verdict.claim.name])
    if as_json:
        print_json([v.to_dict() | {"figure": str(files[v.claim.name])} for v in verdicts])
    else:
        screen = console()
        for line in text.paragraphs(verdicts, view, files):
            screen.print(line, soft_wrap=True)
    if interruption is not None:
        leave_if_interrupted(interruption, as_json=as_json)
    if failed:
        be = "is" if len(failed) == 1 else "are"
        raise TreinoError(
            f"{plural(len(failed), 'training')} failed and {be} missing from the pairs; "
            f"first failure: {failed[0]}"
        )
