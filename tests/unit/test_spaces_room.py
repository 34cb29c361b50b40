"""Limits on the size of networks: what is proposed keeps them, and nothing else changes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import optuna
import pytest
from scipy.stats import chisquare

from models.own_ranges import Range, Real, Whole
from models.spec import count_parameters
from search.errors import SettingsError
from search.protocol import NetworkSize
from search.scheduling.chooser import ObservedTrial
from search.scheduling.full_trainings import LEAST
from search.scheduling.samplers import make_chooser
from search.settings import SAMPLERS
from search.spaces.builtin import Documents, Extended, Space
from search.spaces.hypermodel import OwnNetworks
from search.spaces.room import NetworkLimits, Room
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube

SPACE = Documents(TrainingDefaults(epochs=9), 32)
SHAPE = (32, 32, 3)
DEPTHS = range(2, 6)
DECISIONS = 45
MOST = 1_500_000  # parameters: some networks of two to five blocks have fewer, some more


def room(limits: NetworkLimits, space: Space = SPACE) -> Room:
    return Room(space, SHAPE, 10, limits)


def parameters(params: Params, space: Space = SPACE) -> int:
    model, _ = space.specs(params)
    return count_parameters(model, SHAPE, 10)


def first_proposals(sampler: str, limits: NetworkLimits, draws: int) -> list[Params]:
    """The first trial of as many studies, each of another seed."""
    made, fits = [], room(limits)
    for seed in range(draws):
        chooser = make_chooser(sampler, SPACE.distributions(), SPACE.epochs, seed, room=fits)
        choice = chooser.choose([], new=True)
        assert choice is not None
        made.append(choice.params)
    return made


def shares_of_depths() -> dict[int, float]:
    """The share of each depth among all networks that fit, counted one by one."""
    rest = SPACE.of_documented_run()
    assert rest is not None
    fitting = Counter(
        depth
        for depth, filters, norm in product(DEPTHS, (128, 256, 512), (True, False))
        if parameters({**rest, "blocks": depth, "last_filters": filters, "batch_norm": norm})
        <= MOST
    )
    return {depth: count / fitting.total() for depth, count in fitting.items()}


@pytest.mark.parametrize("sampler", ["gp", "random"])  # tpe's first trials are random's
def test_a_limit_leaves_depths_as_they_are_among_networks_that_fit(sampler: str) -> None:
    draws = 200
    limited = first_proposals(sampler, NetworkLimits(parameters=MOST), draws)
    assert all(parameters(params) <= MOST for params in limited)
    shares = shares_of_depths()
    assert shares == {3: 0.2, 4: 0.4, 5: 0.4}
    depths = Counter(params["blocks"] for params in limited)
    assert depths.keys() <= shares.keys()

    def chance(counts: Mapping[int, float]) -> float:
        """The probability of counts as far from the shares, or further."""
        expected = [draws * share for share in shares.values()]
        return float(chisquare([counts[depth] for depth in shares], expected).pvalue)

    assert chance(depths) > 0.01
    # So many draws tell apart what a sampler would propose that first drew a depth, then a width.
    assert chance({depth: draws / len(shares) for depth in shares}) < 1e-4
    # What would fit is proposed as without a limit.
    free = first_proposals(sampler, NetworkLimits(), 40)
    fitting = [parameters(params) <= MOST for params in free]
    assert {True, False} == set(fitting)
    for fits, one, other in zip(fitting, free, limited, strict=False):
        assert (one == other) is fits


def made_up(params: Params, epochs: int) -> tuple[float, ...]:
    """Losses that depend on depth, width and learning rate: deep, narrow networks are best."""
    floor = 1 - 0.1 * params["blocks"] + abs(np.log10(params["learning_rate"]) + 3) / 10
    floor += {128: 0.0, 256: 0.1, 512: 0.3}[params["last_filters"]]
    return tuple(floor + 1 / epoch for epoch in range(1, epochs + 1))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_keeps_a_limit_and_is_repeated_exactly(sampler: str) -> None:
    fits = room(NetworkLimits(parameters=MOST, operations=20_000_000))

    def search() -> Sequence[ObservedTrial]:
        chooser = make_chooser(sampler, SPACE.distributions(), SPACE.epochs, 3, room=fits)
        trials: list[ObservedTrial] = []
        for _ in range(DECISIONS):
            choice = chooser.choose(trials, new=True)
            assert choice is not None
            if choice.number is None:
                assert fits.fault(choice.params) == ""
                number = len(trials)
                losses = made_up(choice.params, 3)
                trials.append(ObservedTrial(number, choice.params, losses, "paused"))
            else:
                losses = made_up(choice.params, 9)
                trials[choice.number] = ObservedTrial(choice.number, choice.params, losses, "over")
        return trials

    trials = search()
    assert trials == search()
    # Enough for every model that decides (search.scheduling.full_trainings).
    assert sampler != "gp" or sum(len(trial.losses) == 9 for trial in trials) > LEAST


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_where_nothing_fits_any_more_no_trial_is_new(sampler: str) -> None:
    """As after a restart with a tighter limit, in the middle of a search."""
    cube = UnitCube(SPACE.distributions())
    points = cube.uniform(12, np.random.default_rng(0))
    trials = [
        ObservedTrial(number, params, made_up(params, 9), "over")
        for number, params in enumerate(map(cube.params, points))
    ]
    nothing = room(NetworkLimits(parameters=1))
    chooser = make_chooser(sampler, SPACE.distributions(), SPACE.epochs, 3, room=nothing)
    assert chooser.choose(trials, new=True) is None


def test_optunas_sampler_on_a_study_keeps_a_limit_that_few_networks_keep() -> None:
    study = optuna.create_study(study_name="s")
    few = room(NetworkLimits(parameters=500_000))
    chooser = make_chooser("tpe", SPACE.distributions(), 9, 1, study=study, room=few)
    for _ in range(14):
        seen = [
            ObservedTrial(trial.number, trial.params, (trial.value or 0.0,), "over")
            for trial in study.get_trials()
        ]
        choice = chooser.choose(seen, new=True)
        assert choice is not None
        assert parameters(choice.params) <= 500_000
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(choice.params),
                distributions=SPACE.distributions(),
                value=made_up(choice.params, 9)[-1],
            )
        )


def test_without_a_limit_that_binds_the_same_points_are_drawn() -> None:
    distributions = SPACE.distributions()
    free = UnitCube(distributions)
    limited = UnitCube(distributions, room(NetworkLimits(parameters=10**9)).fits)
    middle = np.full(len(free), 0.5)
    for seed in range(3):
        one, two = np.random.default_rng(seed), np.random.default_rng(seed)
        assert np.array_equal(free.uniform(50, one), limited.uniform(50, two))
        assert np.array_equal(free.near(middle, 20, one), limited.near(middle, 20, two))
        assert np.array_equal(free.at_ends(middle), limited.at_ends(middle))
        assert one.random() == two.random()


@pytest.mark.parametrize("space", [SPACE, Extended(TrainingDefaults(epochs=9), 32)])
def test_room_agrees_with_a_count_of_every_network(space: Space) -> None:
    cube = UnitCube(space.distributions())
    points = cube.uniform(300, np.random.default_rng(0))
    fits = room(NetworkLimits(parameters=MOST), space).fits(points)
    assert fits.tolist() == [parameters(cube.params(point), space) <= MOST for point in points]
    assert 0 < fits.sum() < len(points)


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        (
            NetworkLimits(parameters=1000),
            "--max-params 1000: the smallest network of this search has 459,594 parameters",
        ),
        (
            NetworkLimits(operations=5),
            "--max-operations 5: the smallest network of this search takes ",
        ),
        (
            NetworkLimits(parameters=500_000, operations=11_500_000),
            "no network of this search keeps all limits; the smallest ones have 459,594 ",
        ),
    ],
)
def test_limits_that_nothing_keeps_are_refused_with_the_smallest_size(
    limits: NetworkLimits, line: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(line)):
        room(limits).check()


def own(limits: NetworkLimits) -> Room:
    ranges: dict[str, Range] = {
        "layers": Whole(low=1, high=6),
        "width": Whole(low=8, high=512, log=True),
        "rate": Real(low=1e-4, high=1e-1, log=True),
    }
    space = OwnNetworks(
        TrainingDefaults(epochs=9), 32, code="net.py:build", digest="00", ranges=ranges
    )
    return Room(space, SHAPE, 10, limits)


def weights(params: Params) -> int:
    return int(params["layers"] * params["width"] ** 2 + 10 * params["width"])


def test_the_size_of_own_networks_is_estimated_from_those_that_were_built() -> None:
    limits = NetworkLimits(parameters=100_000)
    estimate = own(limits)
    estimate.check()  # their sizes are unknown: nothing to refuse
    cube = UnitCube(estimate._space.distributions())
    random = np.random.default_rng(0)
    points = cube.uniform(400, random)
    assert estimate.fits(points).all()
    for point in cube.uniform(20, random):
        params = cube.params(point)
        estimate.sizes.learn(params, NetworkSize(weights(params)))
    expected = estimate.fits(points)
    true = np.array([weights(cube.params(point)) <= 100_000 for point in points])
    assert (expected == true).mean() > 0.9
    assert expected[true].mean() > 0.95  # hardly any that fits is left out
    largest = {"layers": 6, "width": 512, "rate": 0.01}
    assert estimate.fault(largest) == ""  # unknown until it is built
    estimate.sizes.learn(largest, NetworkSize(weights(largest)))
    assert estimate.fault(largest) == "1,577,984 parameters, more than 100,000"


def test_where_every_own_network_was_too_large_smaller_ones_are_expected() -> None:
    estimate = own(NetworkLimits(parameters=10))
    cube = UnitCube(estimate._space.distributions())
    for point in cube.uniform(20, np.random.default_rng(0)):
        params = cube.params(point)
        estimate.sizes.learn(params, NetworkSize(weights(params)))
    points = cube.uniform(400, np.random.default_rng(1))
    fitting = estimate.fits(points)
    assert 0 < fitting.sum() < 200
    sizes = np.array([weights(cube.params(point)) for point in points])
    assert np.median(sizes[fitting]) < np.median(sizes[~fitting])
