"""Pause and promote: which trial to train next, and how far.

Every trial trains to the first rung and pauses. A free worker then either starts a new trial or
promotes a paused one to its next rung, whichever is more promising. A paused trial can always be
resumed. ``AsyncHalving`` promotes the best third of each rung, like asynchronous successive halving
(Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020).
``search.scheduling.freeze_thaw.FreezeThaw`` uses a model of the losses. Both decide from the
trials, and ``FreezeThaw`` from its stored memory, so a resumed search makes the same decisions.
"""

import math
from collections.abc import Callable, Sequence

from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.rungs import ETA, promotable, rungs
from search.spaces.unit_cube import Params


class AsyncHalving:
    """Promotes the best third of each rung, deepest first; otherwise starts a new trial."""

    def __init__(
        self,
        epochs: int,
        propose: Callable[[Sequence[ObservedTrial], Sequence[int]], Params | None],
        steps: Sequence[int] = (),
    ) -> None:
        """Take new configurations from ``propose``: (trials, rungs) -> configuration.

        ``steps`` are the rungs including the last epoch; ``rungs(epochs)`` by default.
        """
        self._rungs = tuple(steps) or rungs(epochs)
        self._propose = propose

    memory = None

    def choose(
        self, trials: Sequence[ObservedTrial], *, new: bool, paused: bool = True
    ) -> NextTraining | None:
        """See Chooser."""
        if paused:
            may = {trial.number for trial in promotable(trials, self._rungs, new=new)}
            for rung in reversed(self._rungs[:-1]):
                there = sorted(
                    (t for t in trials if len(t.losses) >= rung), key=lambda t: min(t.losses[:rung])
                )
                share = len(there) / ETA
                for rank, trial in enumerate(there[: int(share) if new else math.ceil(share)], 1):
                    if trial.number in may and len(trial.losses) == rung:
                        why = f"rank {rank} of {len(there)} after epoch {rung}"
                        return NextTraining(trial.number, trial.params, why)
        params = self._propose(trials, self._rungs) if new else None
        return None if params is None else NextTraining(None, params, "")
