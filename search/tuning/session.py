"""The resources of work on a study: acquired at its start, released at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from search.console.display import Display, make_display
from search.interruption import Interruption
from search.study.attachments import Attaching, AttachingAside
from search.study.workspace import Workspace
from search.workers.backends.base import Backend
from search.workers.resources import Resources
from storage.lease import StudyLease


@dataclass(frozen=True)
class Session:
    """The resources of a search, or of trainings outside one.

    Attributes:
        workspace: Database, tables and files.
        study: Name of the study.
        backend: The workers.
        display: Shows progress.
        interruption: Whether the user has asked to stop.
        renew: Renews the lease. A loop calls it each turn; it raises if the lease is lost.
        attach: Stores the files of ended trials.
    """

    workspace: Workspace
    study: str
    backend: Backend
    display: Display
    interruption: Interruption
    renew: Callable[[], None] = lambda: None
    attach: Attaching = field(default_factory=Attaching)

    @classmethod
    @contextmanager
    def open(
        cls,
        workspace: Workspace,
        study: str,
        workers: Resources,
        lease: StudyLease,
        interruption: Interruption | None = None,
        *,
        aside: bool = False,
    ) -> Iterator["Session"]:
        """Install signal handlers, and start the display and the workers.

        Until the end, outages of the database are endured.

        Args:
            workspace: Database, tables and files.
            study: Name of the study.
            workers: What the workers run on.
            interruption: What has taken signals over; None to do so here.
            lease: The study's lease, held by the caller.
            aside: Whether to display on standard error, because standard output has results.
        """
        outages = workspace.storage.outages
        with (
            nullcontext(interruption) if interruption else Interruption() as interrupted,
            workers.open(study, workspace.layout.logs(study)) as backend,
            make_display(aside=aside) as display,
            outages.endured(
                workspace.storage.engine,
                workspace.patience,
                say=display.say,
                stopped=lambda: interrupted.now,
            ),
            AttachingAside(lambda: interrupted.now) as attach,
        ):
            renew = partial(outages.endure, lease.renew)
            yield cls(workspace, study, backend, display, interrupted, renew, attach)
