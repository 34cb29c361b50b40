"""What several commands share: parameters, and where their files are."""

from pathlib import Path
from typing import Annotated

import typer

from search.console.terminal import (
    aside,
    printable,
)

DATA = ("data", "image_size", "skip_bad_images", "images", "seed")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder to write to [default: in the study's folder].")
]


def say_where(folder: Path, wanted: Path) -> None:
    """Say why files are in another folder than people expect, if they are."""
    if folder != wanted:
        line = f"{wanted} may not be written: the files are in {folder}; --out names another"
        aside(f"treino: warning: {printable(line)}")
