"""A small search for tests of its state."""

from collections.abc import Sequence

from search.scheduling.chooser import ObservedTrial
from search.spaces.unit_cube import Params

EPOCHS = 9
CONFIGURATIONS = 12  # of the space; the last one does not fit


def propose(trials: Sequence[ObservedTrial], _rungs: Sequence[int]) -> Params | None:
    """The first configuration that no trial has."""
    known = {trial.params["x"] for trial in trials}
    return next(({"x": x} for x in range(CONFIGURATIONS) if x not in known), None)


def fault(params: Params) -> str:
    return "too large" if params["x"] == CONFIGURATIONS - 1 else ""
