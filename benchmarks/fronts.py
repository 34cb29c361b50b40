"""Searches for the front of loss and size on recorded curves, and what their fronts come to.

Both objectives are normalised. A loss is a regret, as in other replays: 0 is the best recorded
configuration's lowest loss, 1 that of a middling one. A size is a logarithm from 0 to 1, the least
and the largest network of the space. The reference point is (1, 1), so what is worse than middling
counts nothing. The hypervolume is that of everything a search has trained so far: each
configuration's lowest loss up to then, and its size.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from search.errors import TreinoError
from search.replay.simulation import Epoch, Maker, Strategy, Task, simulate
from search.replay.strategies import Promoting
from search.replay.tabular import TabularTask
from search.scheduling.curves import Curves
from search.scheduling.front import Front
from search.scheduling.prior import Prior, Source, shipped
from search.scheduling.rungs import rungs
from search.scheduling.samplers import make_chooser
from search.scheduling.targets import SizeRange
from search.spaces.builtin import Documents
from search.spaces.room import NetworkLimits, Room
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Array, Params, UnitCube

SIZES = ("parameters", "operations")
REFERENCE = (1.0, 1.0)
DRAWN = 2000  # configurations that show the range of sizes


@runtime_checkable
class SizedTask(Task, Protocol):
    """A task whose configurations have a size."""

    def size(self, params: Params) -> float:
        """The logarithm of a network's size, from 0 (the space's least) to 1 (its most)."""


class SizedTable(TabularTask):
    """Recorded curves of the ``documents`` space, with the sizes of its networks.

    Attributes:
        measure: ``parameters`` or ``operations``.
        room: Counts them, as in a search.

    Args:
        curves: The table.
        name: Its name.
        measure: See above.
        side: Side of the images in pixels.
        classes: Number of classes.

    Raises:
        TreinoError: The curves are of another space.
    """

    def __init__(self, curves: Curves, name: str, measure: str, side: int, classes: int) -> None:
        super().__init__(curves, f"{name}, {measure}")
        space = Documents(TrainingDefaults(epochs=self.epochs), side)
        if dict(self.distributions) != space.distributions():
            raise TreinoError(
                f"{name}: expected curves of the documents space on images of {side} pixels: "
                "other networks' sizes are not known"
            )
        self.measure = measure
        self.room = Room(space, (side, side, 3), classes, NetworkLimits())
        self._cube = UnitCube(self.distributions)
        everywhere = self._cube.uniform(DRAWN, np.random.default_rng(0))
        self._sizes = SizeRange(partial(self.room.sizes.of, name=measure), everywhere)
        self._recorded = curves

    def size(self, params: Params) -> float:
        """See SizedTask."""
        return float(self._sizes.of(self._cube.of(params)[None])[0])

    @property
    def recorded(self) -> float:
        """The hypervolume of the recorded curves, each trained in full."""
        return hypervolume(
            self,
            [
                Epoch(curve.params, loss, loss)
                for curve in self._recorded.configurations
                for loss in curve.filled(self.epochs)
            ],
        )


def hypervolume(task: SizedTask, epochs: Sequence[Epoch]) -> float:
    """The area between the front of everything that was trained and the reference point."""
    losses = np.array([epoch.loss for epoch in epochs])
    sizes = {key: task.size(dict(key)) for key in {_key(epoch) for epoch in epochs}}
    regrets = (losses - task.best) / (task.middle - task.best)
    return Front.of(
        regrets, np.array([sizes[_key(epoch)] for epoch in epochs]), REFERENCE
    ).hypervolume


def hypervolumes(
    task: Task, make: Maker, *, seed: int, workers: int, budgets: Sequence[int]
) -> Array:
    """The hypervolume that a strategy has reached at each budget, (budgets,).

    Args:
        task: A SizedTask.
        make: Makes the strategy, which does not know its budget.
        seed: Seed of the strategy.
        workers: Number of simulated workers.
        budgets: Budgets in full trainings.
    """
    assert isinstance(task, SizedTask)
    limits = [budget * task.epochs for budget in budgets]
    strategy = make(task, seed, workers, max(limits))
    assert not strategy.knows_budget
    epochs = simulate(task, strategy, workers, max(limits))
    return np.array([hypervolume(task, epochs[:limit]) for limit in limits])


def default(task: Task, seed: int, _workers: int, _budget: int) -> Strategy:
    """The default, with treino's own records but for those of the task's images."""
    records = shipped(task.distributions, without=task.images)
    return _searching(task, seed, Prior([Source(each, task.distributions) for each in records]))


def without_prior(task: Task, seed: int, _workers: int, _budget: int) -> Strategy:
    """The default without a warm start."""
    return _searching(task, seed, Prior())


def _searching(task: Task, seed: int, prior: Prior) -> Strategy:
    """The chooser that the tuner uses for two objectives."""
    assert isinstance(task, SizedTable)
    chooser = make_chooser(
        "gp", task.distributions, task.epochs, seed, prior=prior, room=task.room, size=task.measure
    )
    return Promoting(chooser, rungs(task.epochs))


def _key(epoch: Epoch) -> tuple[tuple[str, object], ...]:
    return tuple(epoch.params.items())
