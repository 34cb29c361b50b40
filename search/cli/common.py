"""Parameters that several commands share, and a warning about the output folder."""

from pathlib import Path
from typing import Annotated

import typer

from search.console.terminal import (
    aside,
    printable,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Out = Annotated[Path | None, typer.Option(help="Output folder [default: in the study's folder].")]


def say_where(folder: Path, wanted: Path) -> None:
    """Warn if files are not in the expected folder, and say why."""
    if folder != wanted:
        line = f"{wanted} is not writable: files are in {folder}; use --out to choose a folder"
        aside(f"treino: warning: {printable(line)}")
