"""Sizes of networks: counted, measured, or estimated from what was measured."""

import math
from itertools import permutations

import numpy as np
import pytest

from models.own_ranges import Range, Real, Whole
from search.protocol import NetworkSize
from search.spaces.builtin import Extended
from search.spaces.hypermodel import OwnNetworks
from search.spaces.network_sizes import NetworkSizes
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube

SHAPE = (32, 32, 3)
SPACE = Extended(TrainingDefaults(epochs=9), 32)
RANGES: dict[str, Range] = {
    "layers": Whole(low=1, high=6),
    "width": Whole(low=8, high=512, log=True),
    "rate": Real(low=1e-4, high=1e-1, log=True),
}
OWN = OwnNetworks(TrainingDefaults(epochs=9), 32, code="n.py:f", digest="00", ranges=RANGES)


Drawn = Extended | OwnNetworks


def drawn(space: Drawn, count: int, seed: int = 0) -> list[Params]:
    """Configurations of networks that are possible."""
    cube = UnitCube(space.distributions())
    points = cube.uniform(2 * count, np.random.default_rng(seed))
    possible = np.isfinite(NetworkSizes(space, SHAPE, 10).of(points, "parameters"))
    return [cube.params(point) for point in points[possible][:count]]


def latency(size: NetworkSize) -> float:
    """Of a machine on which a call has a price, too."""
    return float(0.5 + size.operations / 2e7 + size.parameters / 5e6)


def latencies(sizes: NetworkSizes, configurations: list[Params]) -> np.ndarray:
    cube = UnitCube(SPACE.distributions())
    return sizes.of(np.array([cube.of(params) for params in configurations]), "latency")


def test_a_latency_is_estimated_from_those_of_other_networks() -> None:
    sizes = NetworkSizes(SPACE, SHAPE, 10)
    for params in drawn(SPACE, 40):
        sizes.learn(params, NetworkSize(0, latency=latency(sizes.known(params))))
    others = drawn(SPACE, 100, seed=1)
    true = np.array([latency(sizes.known(params)) for params in others])
    assert np.abs(np.log(latencies(sizes, others) / true)).mean() < 0.25
    assert np.log(true).std() > 0.5


def test_networks_that_differ_in_rates_alone_share_the_first_measurement() -> None:
    sizes = NetworkSizes(SPACE, SHAPE, 10)
    params = SPACE.of_documented_run()
    assert params is not None
    other = {**params, "learning_rate": 0.0123, "dropout_dense": 0.11}
    assert sizes.learn(params, NetworkSize(922_314, latency=2.5)).latency == 2.5
    assert sizes.known(other).latency == 2.5
    assert sizes.learn(other, NetworkSize(922_314, latency=9.9)).latency == 2.5
    deeper = {**params, "blocks": params["blocks"] - 1}
    assert sizes.known(deeper).latency == 0


def test_own_networks_share_one_if_they_have_as_many_weights_and_operations() -> None:
    sizes = NetworkSizes(OWN, SHAPE, 10)
    slow, fast = ({"layers": 2, "width": 64, "rate": rate} for rate in (0.001, 0.01))
    assert sizes.learn(slow, NetworkSize(1000, latency=2.0)).latency == 2.0
    assert sizes.known(fast) == NetworkSize(0)  # unknown before it is built
    assert sizes.learn(fast, NetworkSize(1000, latency=3.0)).latency == 2.0
    for rate, other in ((0.02, NetworkSize(1001, 0, 3.0)), (0.03, NetworkSize(1000, 9, 4.0))):
        network = {"layers": 2, "width": 64, "rate": rate}
        assert sizes.learn(network, other).latency == other.latency


@pytest.mark.parametrize("space", [SPACE, OWN])
def test_estimates_do_not_depend_on_the_order_of_measurements(
    space: Drawn,
) -> None:
    known = drawn(space, 4)
    points = UnitCube(space.distributions()).uniform(50, np.random.default_rng(2))
    found = []
    for order in permutations(range(4)):
        sizes = NetworkSizes(space, SHAPE, 10)
        for n in order:
            sizes.learn(known[n], NetworkSize(100 + n, latency=1.0 + n / 3))
        found.append(sizes.of(points, "latency").tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("space", [SPACE, OWN])
def test_few_measurements_have_their_mean(space: Drawn) -> None:
    sizes = NetworkSizes(space, SHAPE, 10)
    points = UnitCube(space.distributions()).uniform(50, np.random.default_rng(2))
    before = sizes.of(points, "latency")
    assert {*before} <= {1.0, math.inf}  # infinite where no network is possible
    for params, measured in zip(drawn(space, 2), (1.0, 4.0), strict=True):
        sizes.learn(params, NetworkSize(1, latency=measured))
    after = sizes.of(points, "latency")
    assert after[np.isfinite(before)] == pytest.approx(2.0)
