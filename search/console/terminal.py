"""What all commands share: how they load images, speak and leave.

Results go to standard output, what goes wrong to standard error.

Importing this module imports neither TensorFlow nor Optuna: `treino --help` answers at once.
"""

import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from search.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from data.catalog import Choice
    from data.progress import Progress
    from search.interruption import Interruption


def in_utf8() -> None:
    """Start the program again in Python's UTF-8 mode, where the locale's encoding is another.

    Names of files, arguments and text are then the same whatever the locale: in a plain C locale
    Python could otherwise not even open a folder by the name that it has in the study.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    environment = os.environ | {"PYTHONUTF8": "1"}  # for the processes that it starts
    if sys.stdout is not None:  # what the terminal takes stays what it was
        environment.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    # By the flag, because Python may have been told to ignore variables; of two, the first counts.
    arguments = [sys.executable, "-X", "utf8=1", *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - this program itself


def take_any_text() -> None:
    """Let the standard streams print every text: what their encoding lacks is escaped.

    A line that cannot be shown as it is must not end a program that has trained for hours.
    """
    # A Python that was told to ignore variables does not read this one, which changes nothing else.
    asked = os.environ.get("PYTHONIOENCODING", "") if sys.flags.ignore_environment else ""
    encoding = asked.partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if encoding and isinstance(stream, io.TextIOWrapper):
            with suppress(LookupError):
                stream.reconfigure(encoding=encoding)
        # Another handler was asked for by name, and fails as little.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def fault(message: str, code: int) -> int:
    """Say in one line what went wrong; returns the exit code that goes with it."""
    aside(f"treino: {printable(' '.join(message.split()))}")
    return code


def print_json(value: Any) -> None:
    """A value as JSON, in ASCII, so that no name and no terminal can break it.

    Times are in ISO 8601, with their zone; NaN and infinity, which JSON lacks, are null.
    """
    text = json.dumps(value, default=datetime.isoformat)
    finite = json.loads(text, parse_constant=lambda _: None)
    print(json.dumps(finite, indent=2))  # noqa: T201


def printable(text: str | Path) -> str:
    """A text or a path for one line, whatever is in it.

    Escaped is what would move the cursor, end the line or turn the direction of the rest, and
    bytes that are no text; joined emoji and scripts of all kinds stay as they are.
    """
    return "".join(c if _is_plain(c) else repr(c)[1:-1] for c in str(text))


def _is_plain(character: str) -> bool:
    turning = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return not turning and unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def console(*, stderr: bool = False) -> "Console":
    """A console that shows every text as it is: no markup, no emoji names, nothing highlighted.

    Names of classes, studies and files come from outside; `[bold]x` and `:cat:` are names too.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


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
    if as_json:
        aside(line)
    else:
        print(line, flush=True)  # noqa: T201


def aside(line: str) -> None:
    """Print a line for people on standard error, where no result is."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


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
        aside(f"treino: warning: {printable(line)}")
    return choice


@contextmanager
def progress_bar() -> "Iterator[Progress]":
    """A bar on the terminal for what takes long with the images; nothing elsewhere."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with RichProgress(
        *columns,
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
