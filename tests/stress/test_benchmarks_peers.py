"""Peers in environments of their own, where `make bench` has installed them. They take minutes."""

from collections.abc import Mapping

import pytest

from benchmarks import transfer
from benchmarks.fronts import hypervolumes
from benchmarks.peers import GROUPS, fronts
from benchmarks.peers.bridge import Driven
from search.replay.lcbench import LCBenchTask
from search.replay.simulation import regrets
from tests.support.searches import EPOCHS, LCBENCH, FallingCurves, SizedCurves, lengths, searched

DRIVEN = {name: make for name, make in GROUPS["all"].items() if isinstance(make, Driven)}
FRONTS = {name: make for name, make in fronts.STRATEGIES.items() if isinstance(make, Driven)}


def driven(name: str, peers: Mapping[str, Driven] = DRIVEN) -> Driven:
    peer = peers[name]
    if not peer.environment.installed():
        pytest.skip(f"not installed: make {peer.environment.target}")
    return peer


@pytest.mark.parametrize("name", DRIVEN)
def test_a_peer_spends_the_budget_inside_the_space(name: str) -> None:
    peer = driven(name)
    once = searched(peer, seed=1, workers=3)
    assert searched(peer, seed=1, workers=3) == once
    assert searched(peer, seed=2, workers=1) != once


@pytest.mark.parametrize("name", DRIVEN)
def test_a_peer_finds_something_good(name: str) -> None:
    found = regrets(FallingCurves(), driven(name), seed=0, workers=1, budgets=(1, 8))
    assert found[1] < 1.0
    assert found[1] <= found[0]


@pytest.mark.skipif(LCBENCH is None, reason="no LCBench beside the checkout")
@pytest.mark.parametrize("name", transfer.SYNETUNE)
def test_a_peer_learns_from_other_tasks(name: str) -> None:
    assert LCBENCH is not None
    made = transfer.strategies(LCBENCH, ("3945", "7593", "34539"))
    peer = driven(name, {name: make for name, make in made.items() if isinstance(make, Driven)})
    task = LCBenchTask(LCBENCH, "7593")
    figures = regrets(task, peer, seed=0, workers=1, budgets=(1, 10))
    assert figures[1] <= figures[0]
    assert list(figures) == list(regrets(task, peer, seed=0, workers=1, budgets=(1, 10)))


@pytest.mark.parametrize("name", ["neps-priorband", "neps-async-hyperband", "smac-multi-fidelity"])
def test_a_peer_resumes_promoted_configurations(name: str) -> None:
    # Brackets of factor 3: a configuration trains to 1, 3 or 9 epochs, and a promoted one goes on.
    assert set(lengths(driven(name))[:-1]) <= {1, 3, EPOCHS}


@pytest.mark.parametrize("name", ["optuna-gp", "neps-bayesian", "ax"])
def test_a_peer_that_knows_no_epochs_trains_in_full(name: str) -> None:
    assert set(lengths(driven(name), budget=60)[:-1]) == {EPOCHS}


@pytest.mark.parametrize("name", FRONTS)
def test_a_peer_for_two_objectives_searches_for_both(name: str) -> None:
    peer = driven(name, FRONTS)
    workers = 1 if name in fronts.ALONE else 3
    once = searched(peer, seed=1, workers=workers, kind=SizedCurves)
    assert searched(peer, seed=1, workers=workers, kind=SizedCurves) == once
    few, many = hypervolumes(SizedCurves(), peer, seed=0, workers=1, budgets=(2, 20))
    assert 0 <= few < many < 1


@pytest.mark.parametrize("name", ["synetune-moasha", "neps-mo-asha"])
def test_a_peer_for_two_objectives_judges_at_rungs(name: str) -> None:
    trained = lengths(driven(name, FRONTS), kind=SizedCurves)[:-1]
    assert min(trained) < max(trained)
    assert set(trained) <= {1, 3, EPOCHS}
