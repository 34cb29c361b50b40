"""Trials that ended before their first epoch get another chance from the same command."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from models.history import EpochFigures
from models.own_ranges import Whole
from models.spec import OwnSpec, count_parameters, estimate_memory
from search.protocol import Failed, Job, NetworkSize
from search.scheduling.failures import HOPELESS
from search.spaces.builtin import Documents
from search.spaces.hypermodel import OwnNetworks
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import RETRY_OF
from search.study.trials import counted, never_trained, run_name
from search.workers.backends.simulated import Curve
from tests.support.laboratory import EPOCHS, Killed, Lab, Writes, bowl, figures, told

NO_DRIVER = Failed("error", "no such driver")
KILLED = Failed("died", "its worker process died: SIGKILL")


def failing(numbers: set[int], failure: Failed = NO_DRIVER) -> Curve:
    """Curves in which those trials fail before their first epoch."""
    runs = {run_name(number) for number in numbers}
    return lambda job: [failure] * 4 if job.run in runs else bowl(job)


@pytest.mark.parametrize(("failure", "sampler"), [(NO_DRIVER, "gp"), (KILLED, "tpe")])
def test_what_the_environment_broke_is_trained_as_if_nothing_had_been_wrong(
    lab: Lab, failure: Failed, sampler: str
) -> None:
    untroubled = replace(lab, var=lab.var.with_name("untroubled"))
    untroubled.search(bowl, trials=8, sampler=sampler)
    broken = lab.search(failing(set(range(HOPELESS)), failure), trials=8, sampler=sampler)
    assert broken.trouble
    assert not broken.trained
    again = lab.search(bowl, trials=8, sampler=sampler)
    assert again.states == {"complete": 8}
    assert told(counted(lab.trials)) == told(untroubled.trials)
    retried = [trial.user_attrs.get(RETRY_OF) for trial in counted(lab.trials)]
    assert retried == [*range(HOPELESS), None, None, None]


def test_a_retried_trial_has_the_seed_of_the_one_it_replaces(lab: Lab) -> None:
    seeds: dict[str, int] = {}

    def curve(job: Job) -> list[Failed]:
        seeds[job.run] = job.seed
        return [NO_DRIVER] * 4

    for _ in range(3):  # a retry that fails is retried, too, and each time only once
        lab.search(curve, trials=1)
    assert list(seeds) == [run_name(0), run_name(1), run_name(2)]
    assert len(set(seeds.values())) == 1
    assert [trial.user_attrs.get(RETRY_OF) for trial in lab.trials] == [None, 0, 0]
    assert lab.search(bowl, trials=1).states == {"complete": 1}


def test_a_search_that_has_ended_retries_too(lab: Lab) -> None:
    assert lab.search(failing({1})).states == {"complete": 4, "fail": 1}
    assert lab.search(bowl).states == {"complete": 5}
    assert lab.trials[1].params == lab.trials[5].params
    number = len(lab.trials)
    assert lab.search(bowl).states == {"complete": 5}
    assert len(lab.trials) == number


def test_a_trial_that_failed_later_is_not_retried(lab: Lab) -> None:
    lab.search(lambda job: [bowl(job)[0], *[NO_DRIVER] * 3], trials=2)
    assert lab.search(bowl, trials=2).states == {"fail": 2}


def test_what_had_no_room_is_trained_once_there_is(lab: Lab) -> None:
    params = lab.space.of_documented_run()
    assert params is not None
    model, training = lab.space.specs(params)
    need = estimate_memory(model, (32, 32, 3), 3, training.batch_size)
    small = replace(lab, memory=need - 1)
    refused = small.search(bowl, trials=1)
    assert refused.states == {"fail": 1}
    assert not refused.trained
    assert "GiB, but a worker has" in lab.trials[0].user_attrs["reason"]
    assert small.search(bowl, trials=1).states == {"fail": 1}  # there still is none
    assert len(lab.trials) == 1
    roomy = replace(lab, memory=need)
    assert roomy.search(bowl, trials=1).states == {"complete": 1}
    assert [trial.user_attrs.get(RETRY_OF) for trial in lab.trials] == [None, 0]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_only_the_users_own_trials_are_refused_for_their_size(lab: Lab, sampler: str) -> None:
    params = lab.space.of_documented_run()
    assert params is not None
    model, _ = lab.space.specs(params)
    most = count_parameters(model, (32, 32, 3), 3) - 1
    limited = replace(lab, max_parameters=most)
    outcome = limited.search(bowl, trials=12, sampler=sampler)
    assert outcome.states == {"fail": 1, "complete": 11}
    refused, *others = lab.trials
    assert refused.params == params
    assert refused.user_attrs["reason"] == f"{most + 1:,} parameters, more than {most:,}"
    assert all(trial.user_attrs["parameters"] <= most for trial in others)
    assert limited.search(bowl, trials=13, sampler=sampler).states == {"fail": 1, "complete": 12}
    assert lab.search(bowl, trials=13, sampler=sampler).states == {"complete": 13}
    assert lab.trials[-1].params == params


def test_own_networks_that_were_too_large_are_retried_where_they_may_be_larger(lab: Lab) -> None:
    space = OwnNetworks(
        TrainingDefaults(epochs=EPOCHS),
        32,
        code="net.py:build",
        digest="00",
        ranges={"units": Whole(low=1, high=100)},
    )
    limited = replace(lab, space=space, max_parameters=5_000)

    def built(job: Job) -> Sequence[EpochFigures | Failed]:
        assert isinstance(job.model, OwnSpec)
        units = job.model.params["units"]
        assert isinstance(units, int)
        size = NetworkSize(100 * units)
        if excess := size.excess(job.max_parameters, job.max_operations):
            return [Failed("large", excess, size=size)] * EPOCHS
        return [figures(epoch, 1 / units) for epoch in range(1, EPOCHS + 1)]

    first = limited.search(built, trials=20, sampler="random")
    large = [trial for trial in lab.trials if trial.state is TrialState.FAIL]
    assert len(large) > HOPELESS
    assert first.states == {"fail": len(large), "complete": 20 - len(large)}
    assert not first.trouble
    assert all(trial.user_attrs["parameters"] > 5_000 for trial in large)
    limited.search(built, trials=20, sampler="random")
    assert len(lab.trials) == 20
    roomy = replace(limited, max_parameters=10_000)
    assert roomy.search(built, trials=20, sampler="random").states == {"complete": 20}


@pytest.mark.parametrize("kind", ["diverged", "memory"])
def test_a_configuration_that_was_tried_and_is_bad_is_not_retried(lab: Lab, kind: str) -> None:
    bad = Failed(kind, "no good")  # type: ignore[arg-type]
    lab.search(lambda _: [bad] * 4, trials=2)
    assert not never_trained(lab.trials)
    assert lab.search(bowl, trials=2).states == {"pruned": 2}


def test_nothing_is_retried_where_nothing_may_be_trained(lab: Lab) -> None:
    lab.search(failing({0}), trials=2, budget=4)
    before = told(lab.trials)
    assert lab.search(bowl, trials=2, budget=4).states == {"complete": 1, "fail": 1}
    assert told(lab.trials) == before


def test_a_tuner_killed_between_its_writes_retries_each_trial_once(lab: Lab) -> None:
    lab.search(failing({0, 1}), trials=3)
    for last in range(1, 200):
        try:
            lab.search(bowl, trials=3, writes=Writes(last))
        except Killed:
            continue
        break
    trials = counted(lab.trials)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert len(lab.trials) == 5


def test_what_only_a_larger_search_could_replace_stays(lab: Lab) -> None:
    lab.search(failing({1}))
    before = told(lab.trials)
    assert lab.search(bowl, trials=3).states == {"complete": 4, "fail": 1}
    assert told(lab.trials) == before


def test_a_trial_is_not_forgotten_while_its_replacement_waits(lab: Lab) -> None:
    lab.search(failing({1}))
    lab.study_for_writing.enqueue_trial(lab.trials[1].params, user_attrs={RETRY_OF: 1})
    assert [trial.number for trial in counted(lab.trials)] == [0, 1, 2, 3, 4]
    assert lab.search(bowl).states == {"complete": 5}  # and it is not enqueued again
    assert len(lab.trials) == 6


def test_what_ran_out_of_memory_is_trained_where_there_is_more(lab: Lab) -> None:
    lab.memory = 10 * 2**30
    lab.search(lambda _: [Failed("memory", "out of memory")] * 4, trials=1)
    assert lab.search(bowl, trials=1).states == {"pruned": 1}
    lab.memory *= 2
    assert lab.search(bowl, trials=1).states == {"complete": 1}


def test_time_ends_a_search_that_refuses_every_configuration(lab: Lab) -> None:
    lab.memory = 1
    outcome = lab.search(bowl, trials=None, timeout=1e-9)
    assert not outcome.trained
    assert len(lab.trials) == 1


class OwnSpace(Documents):
    """The documents' configurations, as those of a user's function."""

    def specs(self, params: Mapping[str, Any]) -> Any:
        _, training = super().specs(params)
        return OwnSpec(code="net.py:build", digest="0" * 16, params=dict(params)), training


def test_what_the_users_code_always_fails_with_does_not_keep_a_search_from_going_on(
    lab: Lab,
) -> None:
    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        assert isinstance(job.model, OwnSpec)
        width = job.model.params["last_filters"]
        level = job.model.params["learning_rate"]
        assert isinstance(level, float)
        good = [figures(epoch, level + 1 / epoch) for epoch in range(1, 5)]
        return [NO_DRIVER] * 4 if width == 512 else good

    lab.space = OwnSpace(TrainingDefaults(epochs=EPOCHS), 32)
    first = lab.search(curve, trials=12, sampler="random", documented=False)
    count = len(lab.trials)
    assert first.states["fail"] > 1
    later = lab.search(curve, trials=16, sampler="random", documented=False)
    assert not later.trouble
    assert sum(later.states.values()) == 16
    # Only what failed after the last good trial was worth another try.
    assert len(lab.trials) - 4 - count <= 2
