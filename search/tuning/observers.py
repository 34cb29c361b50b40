"""Interface for code that follows a search. The tuner knows only this class."""

from collections.abc import Callable

import optuna

from search.study.workspace import Workspace


class Observer:
    """Follows a search. It may write to the study: the tuner holds the lease, and waits."""

    def search_started(
        self, workspace: Workspace, study: optuna.Study, say: Callable[[str], None]
    ) -> None:
        """Called when the study is open, before a trial trains. ``say`` displays a line."""

    def epoch_ended(self) -> None:
        """Called after each epoch, before the tuner stores it at the end of its turn."""

    def trial_ended(self, study: optuna.Study) -> None:
        """Called when a trial has ended, in any state."""

    def search_ended(
        self, workspace: Workspace, study: optuna.Study, stopped: Callable[[], bool]
    ) -> None:
        """Called when the search has ended or was interrupted, and after its audit, if any.

        The files of all trials are stored. ``stopped`` says whether the user waits no longer.
        """
