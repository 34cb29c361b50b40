"""Who hears of a search's progress: the tuner tells them, and does not know them."""

import optuna

from search.study.workspace import Workspace


class Observer:
    """Hears of a search. It may write to the study: the tuner has its lease, and waits."""

    def trial_ended(self, study: optuna.Study) -> None:
        """A trial has ended, in whatever state."""

    def search_ended(self, place: Workspace, study: optuna.Study) -> None:
        """The search has ended by itself or was interrupted; its audit, if any, is done."""
