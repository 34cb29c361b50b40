"""What work on a study needs while it lasts, and gives back when it ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from search.console.display import Display, make_display
from search.interruption import Interruption
from search.study.workspace import Workspace
from search.workers.backends.base import Backend
from search.workers.backends.local import LocalBackend, Slot
from storage.lease import StudyLease


@dataclass(frozen=True)
class Session:
    """The resources of a search, or of trainings outside one.

    Attributes:
        place: Database, tables and files.
        study: Name of the study that is worked on.
        backend: Its workers.
        display: What people see of it.
        interruption: Whether the user wants it to stop.
        renew: Renews the lease; a loop calls it each turn. It raises when the lease is lost.
    """

    place: Workspace
    study: str
    backend: Backend
    display: Display
    interruption: Interruption
    renew: Callable[[], None] = lambda: None

    @classmethod
    @contextmanager
    def open(
        cls,
        place: Workspace,
        study: str,
        slots: Sequence[Slot],
        lease: StudyLease,
        *,
        aside: bool = False,
    ) -> Iterator["Session"]:
        """Take signals over, and start the display and the workers of this machine.

        Args:
            place: Where.
            study: Name of the study.
            slots: What each worker may use.
            lease: The caller has it.
            aside: Whether what is displayed goes to standard error, where standard output is for
                something else.
        """
        with (
            Interruption() as interruption,
            LocalBackend(list(slots), place.layout.logs(study)) as backend,
            make_display(aside=aside) as display,
        ):
            yield cls(place, study, backend, display, interruption, lease.renew)
