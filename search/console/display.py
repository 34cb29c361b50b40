"""Progress display: a live table on a terminal, plain lines elsewhere."""

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from models.history import EpochFigures, told_figures
from search.console.outputs import outlive_readers
from search.console.terminal import console
from search.console.text import duration

D = TypeVar("D", bound="Display")
OTHER_ROWS = 5  # of the table, and the line above it
REDRAWN_EVERY = 0.5  # seconds
BAR = 10  # width of a progress bar, so that a row fits into 80 columns


@dataclass
class JobView:
    """Progress of the job in a slot."""

    title: str
    epochs: int
    done: int = 0
    figures: EpochFigures | None = None


@dataclass(frozen=True)
class Overall:
    """Progress of the whole run.

    Attributes:
        done: Number of trials (or epochs) that have ended.
        total: Total number of them.
        what: What is counted.
        best: The best trial so far, as text; empty if there is none.
        seconds_left: Estimate of the remaining time; None if there is none.
        next_hour: What another hour is likely to bring; empty if there is no estimate.
        warm_start: How far curves of other studies are trusted; empty if there are none.
        workers: Where the workers are; empty on this machine.
    """

    done: int
    total: int
    what: str = "trials"
    best: str = ""
    seconds_left: float | None = None
    next_hour: str = ""
    warm_start: str = ""
    workers: str = ""


class Display(ABC):
    """Shows the progress of a run. A context manager, for use from one thread."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Show a permanent line."""

    @abstractmethod
    def job_started(self, slot: int, title: str, epochs: int) -> None:
        """Show that a slot starts or resumes a training of at most ``epochs`` epochs."""

    @abstractmethod
    def job_at(self, slot: int, figures: EpochFigures) -> None:
        """Show an epoch that the slot's training has completed."""

    @abstractmethod
    def job_ended(self, slot: int, line: str) -> None:
        """Show that the slot is free; ``line`` says how its training ended."""

    @abstractmethod
    def overall(self, overall: Overall) -> None:
        """Show the progress of the whole run."""

    def __enter__(self: D) -> D:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clean up."""


class PlainDisplay(Display):
    """Prints one line per event, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: dict[int, JobView] = {}

    def say(self, line: str) -> None:
        """Print the line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def job_started(self, slot: int, title: str, epochs: int) -> None:
        """Print that the job has started."""
        self._jobs[slot] = JobView(title, epochs)
        self.say(f"{title}: started")

    def job_at(self, slot: int, figures: EpochFigures) -> None:
        """Print the epoch's figures."""
        job = self._jobs[slot]
        self.say(f"{job.title}: epoch {figures.epoch}/{job.epochs}  {told_figures(figures)}")

    def job_ended(self, slot: int, line: str) -> None:
        """Print how the job ended."""
        self._jobs.pop(slot, None)
        self.say(line)

    def overall(self, overall: Overall) -> None:
        """Print nothing: the lines show the progress."""


class LiveDisplay(Display):
    """A table at the bottom of the terminal. Lines about ended trials scroll above it.

    It has as many jobs as there is room for. With more than that, it is drawn every
    ``REDRAWN_EVERY`` seconds, not at every change.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: dict[int, JobView] = {}
        self._overall: Overall | None = None
        self._drawn = -math.inf
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveDisplay":
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the table; the lines remain."""
        self._live.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Print the line above the table."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def job_started(self, slot: int, title: str, epochs: int) -> None:
        """Add a row for the slot."""
        self._jobs[slot] = JobView(title, epochs)
        self._refresh()

    def job_at(self, slot: int, figures: EpochFigures) -> None:
        """Update the slot's row."""
        job = self._jobs[slot]
        job.done, job.figures = figures.epoch, figures
        self._refresh()

    def job_ended(self, slot: int, line: str) -> None:
        """Remove the row and print how the training ended."""
        self._jobs.pop(slot, None)
        self.say(line)
        self._refresh()

    def overall(self, overall: Overall) -> None:
        """Update the last row."""
        if overall != self._overall:
            self._overall = overall
            self._refresh()

    def _refresh(self) -> None:
        crowded = len(self._jobs) > self._room
        if crowded and time.monotonic() - self._drawn < REDRAWN_EVERY:
            return
        self._live.update(self._table(), refresh=True)
        self._drawn = time.monotonic()

    @property
    def _room(self) -> int:
        """Rows for jobs, beside those about the whole run."""
        return max(self._console.height - OTHER_ROWS, 1)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column(no_wrap=True)
        for _, job in sorted(self._jobs.items())[: self._room]:
            table.add_row(
                Text(job.title),
                ProgressBar(total=job.epochs, completed=job.done, width=BAR),
                Text(f"{job.done}/{job.epochs}" if job.done else "starting"),
                Text(told_figures(job.figures) if job.figures else ""),
            )
        if len(self._jobs) > self._room:
            table.add_row(Text(f"and {len(self._jobs) - self._room:,} more", style="dim"))
        if self._overall is not None:
            o = self._overall
            remaining = "" if o.seconds_left is None else f", about {duration(o.seconds_left)} left"
            table.add_row(
                Text(f"all {o.what}", style="bold"),
                ProgressBar(total=o.total, completed=o.done, width=BAR),
                Text(f"{o.done}/{o.total}"),
                Text(o.best + remaining if o.best else remaining.removeprefix(", ")),
            )
            if o.next_hour:
                table.add_row(Text("next hour", style="dim"), "", "", Text(o.next_hour))
            if o.warm_start:
                table.add_row(Text("warm start", style="dim"), "", "", Text(o.warm_start))
            if o.workers:
                table.add_row(Text("cluster", style="dim"), "", "", Text(o.workers))
        return table


def make_display(*, aside: bool = False) -> Display:
    """The display that suits standard output, or standard error with ``aside``.

    The work that it shows continues if the output is closed.
    """
    outlive_readers()
    screen = console(stderr=aside)
    live = screen.is_terminal and not screen.is_dumb_terminal
    return LiveDisplay(screen) if live else PlainDisplay(screen)
