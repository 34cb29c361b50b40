"""The strategies that a replay compares."""

from collections.abc import Mapping, Sequence
from functools import partial

from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.scheduling.chooser import Chooser, ObservedTrial
from search.scheduling.prior import prior_of
from search.scheduling.rungs import rungs
from search.scheduling.samplers import make_chooser


class Promoting:
    """treino's own strategy, with the chooser that the tuner uses."""

    knows_budget = False

    def __init__(self, chooser: Chooser, steps: Sequence[int]) -> None:
        """Use ``chooser``, for trials that pause at ``steps``, the last epoch included."""
        self._chooser = chooser
        self._rungs = steps
        self._seen: list[ObservedTrial] = []

    def work(self) -> ReplayJob | None:
        """The chooser's next training."""
        choice = self._chooser.choose(self._seen, new=True)
        if choice is None:
            return None
        if choice.number is None:
            self._seen.append(ObservedTrial(len(self._seen), choice.params, (), "running"))
            return ReplayJob(len(self._seen) - 1, choice.params)
        self._seen[choice.number] = self._seen[choice.number].now("running")
        return ReplayJob(choice.number, choice.params)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Stop at rungs, where the chooser decides."""
        seen = self._seen[config].after(loss)
        if epoch in self._rungs:
            seen = seen.now("over" if epoch == self._rungs[-1] else "paused")
        self._seen[config] = seen
        return seen.state == "running"


def _promoting(
    sampler: str, prior: str, task: Task, seed: int, _workers: int, _budget: int
) -> Strategy:
    known = prior_of(prior, task.distributions)
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed, prior=known)
    return Promoting(chooser, rungs(task.epochs))


STRATEGIES: Mapping[str, Maker] = {
    "default": partial(_promoting, "gp", "auto"),
    "default-without-prior": partial(_promoting, "gp", "none"),
    "promote-tpe": partial(_promoting, "tpe", "none"),
    "promote-random": partial(_promoting, "random", "none"),
}
