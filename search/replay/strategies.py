"""The strategies that a replay compares."""

from collections.abc import Mapping, Sequence
from functools import partial

from search.replay.simulation import Maker, ReplayJob, Strategy, Task
from search.scheduling.chooser import Chooser, ObservedTrial
from search.scheduling.curves import Curves
from search.scheduling.prior import Prior, Source, prior_of, shipped
from search.scheduling.rungs import rungs
from search.scheduling.samplers import make_chooser


class Promoting:
    """treino's own strategy, with the chooser that the tuner uses.

    Attributes:
        trials: The trials so far.
    """

    knows_budget = False

    def __init__(self, chooser: Chooser, steps: Sequence[int]) -> None:
        """Use ``chooser``, for trials that pause at ``steps``, the last epoch included."""
        self._chooser = chooser
        self._rungs = steps
        self.trials: list[ObservedTrial] = []

    def work(self) -> ReplayJob | None:
        """The chooser's next training."""
        choice = self._chooser.choose(self.trials, new=True)
        if choice is None:
            return None
        if choice.number is None:
            self.trials.append(ObservedTrial(len(self.trials), choice.params, (), "running"))
            return ReplayJob(len(self.trials) - 1, choice.params)
        self.trials[choice.number] = self.trials[choice.number].now("running")
        return ReplayJob(choice.number, choice.params)

    def epoch(self, config: int, epoch: int, loss: float) -> bool:
        """Stop at rungs, where the chooser decides."""
        trial = self.trials[config].after(loss)
        if epoch in self._rungs:
            trial = trial.now("over" if epoch == self._rungs[-1] else "paused")
        self.trials[config] = trial
        return trial.state == "running"


def _promoting(
    sampler: str, prior: str, task: Task, seed: int, _workers: int, _budget: int
) -> Strategy:
    return with_prior(prior_of(prior, task.distributions), sampler, task, seed)


def left_out(task: Task, seed: int, _workers: int, _budget: int) -> Strategy:
    """The default, with treino's own records but for those of the task's images."""
    return with_records(shipped(task.distributions, without=task.images), task, seed)


def with_records(records: Sequence[Curves], task: Task, seed: int) -> Strategy:
    """The default, with these records."""
    prior = Prior([Source(each, task.distributions) for each in records])
    return with_prior(prior, "gp", task, seed)


def with_prior(prior: Prior, sampler: str, task: Task, seed: int) -> Strategy:
    """The strategy of the tuner's chooser, with this prior and sampler."""
    chooser = make_chooser(sampler, task.distributions, task.epochs, seed, prior=prior)
    return Promoting(chooser, rungs(task.epochs))


STRATEGIES: Mapping[str, Maker] = {
    "default": partial(_promoting, "gp", "auto"),
    "default-left-out": left_out,
    "default-without-prior": partial(_promoting, "gp", "none"),
    "promote-tpe": partial(_promoting, "tpe", "none"),
    "promote-random": partial(_promoting, "random", "none"),
}
