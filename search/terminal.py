"""What all commands share: how they load images, speak and leave.

Results go to standard output, what goes wrong to standard error.

Importing this module imports neither TensorFlow nor Optuna: `treino --help` answers at once.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from search.settings import Settings

if TYPE_CHECKING:
    from rich.progress import TaskID

    from data.catalog import Choice
    from data.progress import Progress
    from search.interruption import Interruption


def fault(message: str, code: int) -> int:
    """Say in one line what went wrong; returns the exit code that goes with it."""
    line = " ".join(message.split())
    print(f"treino: {line}", file=sys.stderr)  # noqa: T201
    return code


def print_json(value: Any) -> None:
    """A value as JSON, in ASCII, so that no name and no terminal can break it.

    Times are in ISO 8601, with their zone; NaN and infinity, which JSON lacks, are null.
    """
    text = json.dumps(value, default=datetime.isoformat)
    finite = json.loads(text, parse_constant=lambda _: None)
    print(json.dumps(finite, indent=2))  # noqa: T201


def printable(path: Path) -> str:
    """A path for one line of text, whatever is in its name."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def leave_if_interrupted(interruption: "Interruption", *, as_json: bool = False) -> None:
    """Leave with the exit code of an interruption, if there was one.

    Raises:
        typer.Exit: There was.
    """
    if interruption.asked:
        say("interrupted; everything is saved: the same command goes on", as_json=as_json)
        raise typer.Exit(interruption.exit_code)


def say(line: str, *, as_json: bool = False) -> None:
    """Print a line for people: aside, where standard output is for JSON alone."""
    print(line, file=sys.stderr if as_json else sys.stdout, flush=True)


def load_images(settings: Settings, *, as_json: bool = False) -> "Choice":
    """The images that the settings name; says which they are, and what is wrong with them."""
    from data.catalog import load

    with progress_bar() as progress:
        choice = load(
            settings.data,
            image_size=settings.image_size,
            seed=settings.seed,
            skip_bad_images=settings.skip_bad_images,
            images=settings.images,
            progress=progress,
        )
    say(f"data: {choice.dataset.name} ({choice.reason})", as_json=as_json)
    for line in choice.dataset.warnings:
        print(f"treino: warning: {line}", file=sys.stderr)  # noqa: T201
    return choice


@contextmanager
def progress_bar() -> "Iterator[Progress]":
    """A bar on the terminal for what takes long with the images; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with RichProgress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
