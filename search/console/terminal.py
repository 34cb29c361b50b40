"""Helpers that all commands share: load images, print, exit.

Results go to standard output; errors and warnings go to standard error.

Importing this module does not import TensorFlow or Optuna, so `treino --help` is fast.
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
    """Restart the program in Python's UTF-8 mode if the locale has another encoding.

    File names, arguments and text then do not depend on the locale. Otherwise, in a plain C locale,
    Python could not even open a folder by the name stored in the study.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    environment = os.environ | {"PYTHONUTF8": "1"}  # for child processes
    if sys.stdout is not None:  # keep the terminal's encoding
        environment.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    # A flag, because Python may ignore variables. Of two such flags, the first one counts.
    arguments = [sys.executable, "-X", "utf8=1", *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - restarts this program


def take_any_text() -> None:
    """Let the standard streams print any text, with escapes for characters they cannot encode.

    A line that cannot be encoded must not end a program that has trained for hours.
    """
    # With flag -E Python ignores this variable, too; it affects nothing but the encoding.
    variable = os.environ.get("PYTHONIOENCODING", "") if sys.flags.ignore_environment else ""
    encoding = variable.partition(":")[0]
    for stream in (sys.stdout, sys.stderr):
        if encoding and isinstance(stream, io.TextIOWrapper):
            with suppress(LookupError):
                stream.reconfigure(encoding=encoding)
        # Keep any other handler: the user chose it, and it does not fail.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def fault(message: str, code: int) -> int:
    """Print an error as one line, and return the exit code."""
    aside(f"treino: {printable(' '.join(message.split()))}")
    return code


def print_json(value: Any) -> None:
    """Print a value as ASCII-only JSON, so that names and terminals cannot break it.

    Times are in ISO 8601 with their time zone. NaN and infinity are not JSON, so they become null.
    """
    text = json.dumps(value, default=datetime.isoformat)
    finite = json.loads(text, parse_constant=lambda _: None)
    print(json.dumps(finite, indent=2))  # noqa: T201


def printable(text: str | Path) -> str:
    """Any text or path as a single safe line.

    Control characters, line breaks, direction marks and undecodable bytes are escaped. Joined
    emoji and all scripts are unchanged.
    """
    return "".join(c if _is_plain(c) else repr(c)[1:-1] for c in str(text))


def _is_plain(character: str) -> bool:
    turning = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return not turning and unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def console(*, stderr: bool = False) -> "Console":
    """A console without markup, emoji names and highlighting.

    Classes, studies and files may have any name, including `[bold]x` and `:cat:`.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def leave_if_interrupted(interruption: "Interruption", *, as_json: bool = False) -> None:
    """Exit with the code of an interruption, if there was one.

    Raises:
        typer.Exit: The user interrupted.
    """
    if interruption.asked:
        say("interrupted; everything is saved: run the same command to resume", as_json=as_json)
        raise typer.Exit(interruption.exit_code)


def say(line: str, *, as_json: bool = False) -> None:
    """Print a message to standard output, or to standard error with ``--json``."""
    if as_json:
        aside(line)
    else:
        print(line, flush=True)  # noqa: T201


def aside(line: str) -> None:
    """Print a message to standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def load_images(settings: Settings, *, as_json: bool = False) -> "Choice":
    """Load the images of the settings, and print their source and their warnings."""
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
    """A progress bar on the terminal for slow work; shows nothing elsewhere."""
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
