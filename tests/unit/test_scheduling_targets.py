"""Searches for the lowest loss and for the largest front, on made-up curves."""

import json
import math

import numpy as np
import pytest
from optuna.distributions import distribution_to_json

from models.spec import ModelSpec
from search.scheduling.chooser import ObservedTrial
from search.scheduling.curves import Curve, Curves
from search.scheduling.front import Front, on_front
from search.scheduling.prior import Prior, Source
from search.scheduling.rungs import next_rung, rungs
from search.scheduling.samplers import make_chooser
from search.spaces.builtin import Documents
from search.spaces.network_sizes import network_size
from search.spaces.room import NetworkLimits, Room
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube

EPOCHS = 9
IMAGES = (32, 32, 3), 10
SPACE = Documents(TrainingDefaults(epochs=EPOCHS), 32)


def log_size(params: Params) -> float:
    model, _ = SPACE.specs(params)
    assert isinstance(model, ModelSpec)
    return math.log10(network_size(model, *IMAGES).parameters)


def loss(params: Params, epoch: int) -> float:
    """Falls with the size, and has a best learning rate."""
    rate = abs(math.log10(params["learning_rate"]) + 3)
    return 3 - log_size(params) / 3 + rate / 2 + 1 / epoch


def searched(
    size: str, seed: int, budget: int = 100, prior: Prior | None = None
) -> list[ObservedTrial]:
    """The trials of a search by one worker; ``size`` is what it minimises beside the loss."""
    room, distributions = Room(SPACE, *IMAGES, NetworkLimits()), SPACE.distributions()
    chooser = make_chooser("gp", distributions, EPOCHS, seed, room=room, size=size, prior=prior)
    trials: dict[int, ObservedTrial] = {}
    while sum(len(trial.losses) for trial in trials.values()) < budget:
        choice = chooser.choose(list(trials.values()), new=True)
        assert choice is not None
        number = len(trials) if choice.number is None else choice.number
        trial = trials.get(number, ObservedTrial(number, choice.params, (), "paused"))
        goal = next_rung(rungs(EPOCHS), len(trial.losses))
        while len(trial.losses) < goal:
            trial = trial.after(loss(trial.params, len(trial.losses) + 1))
        trials[number] = trial.now("over" if goal == EPOCHS else "paused")
    return list(trials.values())


def rows_on_front(trials: list[ObservedTrial]) -> list[int]:
    return on_front([t.best for t in trials], [log_size(t.params) for t in trials])


def hypervolume(trials: list[ObservedTrial]) -> float:
    losses = np.array([trial.best for trial in trials])
    sizes = np.array([log_size(trial.params) for trial in trials])
    return Front.of(losses, sizes, (3.5, 7.0)).hypervolume


@pytest.mark.parametrize("seed", range(2))
def test_a_search_for_the_front_finds_a_larger_one(seed: int) -> None:
    front, lowest = searched("parameters", seed), searched("", seed)
    assert hypervolume(front) > 1.05 * hypervolume(lowest)
    sizes = [log_size(front[row].params) for row in rows_on_front(front)]
    assert sizes[-1] - sizes[0] > 0.5  # it is no single good network


@pytest.fixture(scope="module")
def recorded() -> Prior:
    """What forty recorded trainings of the same kind say."""
    cube = UnitCube(SPACE.distributions())
    drawn = map(cube.params, cube.uniform(40, np.random.default_rng(0)))
    configurations = tuple(
        Curve(
            trial=number,
            params=params,
            val_loss=tuple(loss(params, epoch) for epoch in range(1, EPOCHS + 1)),
            val_accuracy=(0.5,) * EPOCHS,
            diverged=False,
        )
        for number, params in enumerate(drawn)
    )
    ranges = {n: json.loads(distribution_to_json(d)) for n, d in SPACE.distributions().items()}
    curves = Curves(
        data="others 5f1e",
        space="documents",
        epochs=EPOCHS,
        seed=0,
        versions={},
        distributions=ranges,
        configurations=configurations,
    )
    return Prior([Source(curves, SPACE.distributions())])


@pytest.mark.parametrize("seed", range(2))
def test_recorded_curves_favour_networks_along_the_front(recorded: Prior, seed: int) -> None:
    budget = 3 * EPOCHS
    warm, cold = (searched("parameters", seed, budget, prior) for prior in (recorded, None))
    assert hypervolume(warm) > hypervolume(cold)
    lowest = searched("", seed, budget, recorded)
    spread, large = (  # favourites and random configurations take turns
        [log_size(trial.params) for trial in trials if trial.number in (0, 2, 4)]
        for trials in (warm, lowest)
    )
    assert max(spread) - min(spread) > 0.5
    assert min(spread) < min(large)


def test_its_sizes_are_those_that_it_is_told_to_minimise() -> None:
    room = Room(SPACE, *IMAGES, NetworkLimits())
    params = SPACE.of_documented_run()
    assert params is not None
    size = room.sizes.known(params)
    assert (size.parameters, size.operations) == (922_314, 15_569_920)
