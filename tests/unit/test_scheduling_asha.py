"""Pause and promote: which trial goes on, and why. Pure code, every chooser by one contract."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search.scheduling.chooser import Chooser, NextTraining, ObservedState, ObservedTrial
from search.scheduling.rungs import (
    ETA,
    epochs_to_come,
    next_rung,
    promotable,
    reached,
    rungs,
    standing,
    why_left,
)
from search.scheduling.samplers import make_chooser
from search.settings import SAMPLERS

EPOCHS = 9
SPACE: Mapping[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "width": CategoricalDistribution((1, 2, 4)),
}


def loss(params: Mapping[str, Any], epoch: int) -> float:
    """Best at a rate of 0.01 and the greatest width; falls with the epochs."""
    level = abs(math.log10(params["rate"]) + 2) / 4 + 0.1 / params["width"]
    return 0.2 + level + 1 / (1 + epoch)


def trial(number: int, losses: Sequence[float], state: Any = "paused") -> ObservedTrial:
    return ObservedTrial(number, {"rate": 0.1 + number / 100, "width": 1}, tuple(losses), state)


class Search:
    """One simulated worker that trains what a chooser chooses."""

    def __init__(self, sampler: str, seed: int = 0, *, forgetful: bool = False) -> None:
        self.sampler, self.seed, self.forgetful = sampler, seed, forgetful
        self.seen: list[ObservedTrial] = []
        self.choices: list[NextTraining] = []
        self.chooser = self.fresh()

    def fresh(self, memory: Mapping[str, Any] | None = None) -> Chooser:
        return make_chooser(self.sampler, SPACE, EPOCHS, self.seed, memory=memory)

    def step(self, *, new: bool = True) -> bool:
        if self.forgetful:  # as a tuner that is killed before each decision
            memory = self.chooser.memory
            self.chooser = self.fresh(json.loads(json.dumps(memory)))
        choice = self.chooser.choose(self.seen, new=new)
        if choice is None:
            return False
        self.choices.append(choice)
        number = choice.number
        if number is None:
            number = len(self.seen)
            self.seen.append(ObservedTrial(number, choice.params, (), "running"))
        goal = next_rung(rungs(EPOCHS), len(self.seen[number].losses))
        while len(self.seen[number].losses) < goal:
            epoch = len(self.seen[number].losses) + 1
            self.seen[number] = self.seen[number].after(loss(choice.params, epoch))
        self.seen[number] = self.seen[number].now("over" if goal == EPOCHS else "paused")
        return True


@given(st.integers(1, 10_000))
def test_rungs_rise_threefold_from_beyond_the_first_epoch_to_the_last(epochs: int) -> None:
    steps = rungs(epochs)
    assert steps[-1] == epochs
    assert steps[0] >= min(epochs, 2)
    for low, high in itertools.pairwise(steps):
        assert low == pytest.approx(high / ETA, abs=1)
        assert low < high


def test_rungs_of_a_usual_search() -> None:
    assert rungs(20) == (2, 7, 20)
    assert rungs(3) == (3,)
    assert rungs(1) == (1,)


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestEveryChooser:
    def test_takes_up_paused_trials_and_begins_unknown_ones(self, sampler: str) -> None:
        search = Search(sampler)
        for _ in range(60):
            paused = {seen.number for seen in search.seen if seen.state == "paused"}
            known = [seen.params for seen in search.seen]
            assert search.step()
            choice = search.choices[-1]
            assert choice.number in paused if choice.number is not None else True
            if choice.number is None:
                assert choice.params not in known
                assert choice.params.keys() == SPACE.keys()
            else:
                assert choice.reason
        lengths = {len(seen.losses) for seen in search.seen}
        assert lengths == set(rungs(EPOCHS))

    def test_chooses_the_same_after_a_death_before_every_decision(self, sampler: str) -> None:
        steady, forgetful = Search(sampler, 3), Search(sampler, 3, forgetful=True)
        for _ in range(45):
            steady.step()
            forgetful.step()
        assert steady.choices == forgetful.choices

    def test_another_seed_is_another_search(self, sampler: str) -> None:
        one, other = Search(sampler, 1), Search(sampler, 2)
        one.step()
        other.step()
        assert one.choices[0].params != other.choices[0].params

    def test_a_search_that_begins_no_more_trials_ends(self, sampler: str) -> None:
        search = Search(sampler)
        while len(search.seen) < 12:
            search.step()
        while search.step(new=False):
            assert len(search.seen) == 12
        for rung in rungs(EPOCHS)[:-1]:
            there = [seen for seen in search.seen if len(seen.losses) >= rung]
            beyond = [seen for seen in there if len(seen.losses) > rung]
            assert len(beyond) >= math.ceil(len(there) / ETA)
        assert any(seen.state == "over" for seen in search.seen)

    def test_leaves_alone_what_is_under_way(self, sampler: str) -> None:
        search = Search(sampler)
        for _ in range(30):
            search.step()
        busy = [seen.now("running") if seen.state == "paused" else seen for seen in search.seen]
        choice = search.chooser.choose(busy, new=True)
        assert choice is not None
        assert choice.number is None
        assert search.chooser.choose(busy, new=False) is None

    def test_a_diverged_trial_is_not_the_best(self, sampler: str) -> None:
        search = Search(sampler)
        for _ in range(12):
            search.step()
        bad = ObservedTrial(len(search.seen), {"rate": 0.9, "width": 4}, (math.inf,), "over")
        search.seen.append(bad)
        for _ in range(20):
            assert search.step()
        assert all(choice.number != bad.number for choice in search.choices)


def test_the_forecast_finds_the_good_corner_sooner_than_chance() -> None:
    best = {}
    for sampler in ("gp", "random"):
        found = []
        for seed in range(5):
            search = Search(sampler, seed)
            while sum(len(seen.losses) for seen in search.seen) < 8 * EPOCHS:
                search.step()
            found.append(min(seen.best for seen in search.seen))
        best[sampler] = float(np.mean(found))
    assert best["gp"] < best["random"]


def test_the_more_workers_the_sooner_a_paused_trial_is_taken_up() -> None:
    square = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}

    def taken_up(others: ObservedState) -> int:
        """Of 20 searches, how many take up one of their 8 paused trials; 16 are in that state."""
        count = 0
        for seed in range(20):
            random = np.random.default_rng(seed)
            seen = []
            for number, (x, y) in enumerate(random.random((24, 2))):
                end = 1 + (x - 0.3) ** 2 + (y - 0.6) ** 2
                losses = (end + 1 + random.normal(0, 0.02), end + 0.5 + random.normal(0, 0.02))
                state = "paused" if number < 8 else others
                seen.append(ObservedTrial(number, {"x": x, "y": y}, losses, state))
            choice = make_chooser("gp", square, 20, seed).choose(seen, new=True)
            count += choice is not None and choice.number is not None
        return count

    assert taken_up("running") > taken_up("over")


def test_the_best_third_goes_on_and_says_its_rank() -> None:
    seen = [trial(n, (1.0, 1.0 - n / 10, 1.0)) for n in range(6)]
    chooser = make_chooser("random", SPACE, EPOCHS, 0)
    choice = chooser.choose(seen, new=True)
    assert choice == NextTraining(5, seen[5].params, "rank 1 of 6 after epoch 3")
    seen[5] = seen[5].now("running")
    second = chooser.choose(seen, new=True)
    assert second is not None
    assert second.number == 4
    seen[4] = seen[4].now("running")
    third = chooser.choose(seen, new=True)
    assert third is not None
    assert third.number is None


def test_only_a_third_may_go_on_when_the_search_draws_to_its_end() -> None:
    seen = [trial(n, (1.0, 1.0, 1.0)) for n in range(6)]
    assert promotable(seen, (3, 9), new=True) == seen
    assert promotable(seen, (3, 9), new=False) == seen
    seen[0] = trial(0, (1.0,) * 9, "over")
    seen[1] = trial(1, (1.0,) * 3, "running")
    assert promotable(seen, (3, 9), new=False) == []
    assert promotable(seen, (3, 9), new=True) == seen[2:]


def test_why_a_trial_was_left() -> None:
    seen = [trial(0, (0.9, 0.8, 0.7)), trial(1, (0.5,) * 9, "over"), trial(2, (0.6,) * 9, "over")]
    assert why_left(seen, seen[0], (3, 9)) == (
        "not promoted beyond epoch 3 of 9: 0.7000, rank 3 of 3 there; 2 continued, with up to "
        "0.6000; 6 epochs saved"
    )
    alone = [trial(0, (0.9, 0.8, 0.7))]
    assert why_left(alone, alone[0], (3, 9)) == (
        "not promoted beyond epoch 3 of 9: 0.7000, rank 1 of 1 there; 6 epochs saved"
    )


def test_standing_counts_those_that_reached_the_rung() -> None:
    seen = [trial(0, (0.9, 0.8)), trial(1, (0.5,)), trial(2, (0.6, 0.7, 0.1))]
    assert standing(seen, seen[0], 2) == (2, 2)
    assert standing(seen, seen[2], 1) == (2, 3)


@pytest.mark.parametrize(("epochs", "rung"), [(0, 0), (2, 0), (3, 3), (8, 3), (9, 9)])
def test_reached_is_the_last_rung_at_or_before(epochs: int, rung: int) -> None:
    assert reached(trial(0, (1.0,) * epochs), (3, 9)) == rung


def test_a_search_needs_the_epochs_of_its_promotions() -> None:
    assert epochs_to_come([], 9, (3, 9)) == 9 * 3 + 3 * 6
    assert epochs_to_come([], 1, (3, 9)) == 9
    assert epochs_to_come([], 5, (4,)) == 20
    losses = (1.0, 0.9, 0.8)
    paused = [trial(number, losses) for number in range(9)]
    assert epochs_to_come(paused, 9, (3, 9)) == 3 * 6
    assert epochs_to_come([*paused[1:], trial(9, losses, "running")], 9, (3, 9)) == 3 * 6
    over = [trial(number, losses * 3, "over") for number in range(4)]
    assert epochs_to_come([*over, *paused[4:]], 9, (3, 9)) == 0  # one more than a third went on
    assert epochs_to_come([*over, *paused[4:]], 15, (3, 9)) == 6 * 3 + 6
    failed = trial(9, (), "over")
    assert epochs_to_come([failed], 1, (3, 9)) == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_while_a_search_goes_on_it_is_said_to_need_epochs(sampler: str) -> None:
    search, trials = Search(sampler, 4), 8
    steps = rungs(EPOCHS)
    expected = epochs_to_come(search.seen, trials, steps)
    while search.step(new=len(search.seen) < trials):
        assert expected > 0
        expected = epochs_to_come(search.seen, trials, steps)
    assert expected == 0
