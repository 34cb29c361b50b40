"""Interface for code that follows a search. The tuner knows only this class."""

import optuna

from search.study.workspace import Workspace


class Observer:
    """Follows a search. It may write to the study: the tuner holds the lease, and waits."""

    def trial_ended(self, study: optuna.Study) -> None:
        """Called when a trial has ended, in any state."""

    def search_ended(self, place: Workspace, study: optuna.Study) -> None:
        """Called when the search has ended or was interrupted, and after its audit, if any."""
