"""The tuner on simulated workers: a real study, real tables, made-up curves."""

import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from models.history import EpochFigures
from search.figures import plots
from search.protocol import Job
from search.scheduling.prior import prior_of
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.workers.backends.simulated import SimulatedBackend
from storage.files import Layout
from tests.support.laboratory import EPOCHS, RUNGS, Killed, Lab, Said, Writes, bowl, figures, told

DRAW_CURVES = plots.draw_curves  # which searches in the laboratory do without


def test_a_search_has_its_trials_and_each_has_its_best_value(lab: Lab) -> None:
    outcome = lab.search(bowl)
    trials = lab.trials
    assert outcome.states == {"complete": 5}
    assert outcome.epochs == 5 * EPOCHS
    assert outcome.images == 5 * EPOCHS * len(lab.data.train.labels)
    assert trials[0].params == lab.space.of_documented_run()
    for trial in trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.value == min(trial.intermediate_values.values())
        assert trial.value != trial.intermediate_values[EPOCHS]
        assert list(trial.intermediate_values) == [1, 2, 3, 4]
        assert trial.user_attrs["best epoch"] == 3
    assert lab.epochs == {f"trial-{n:05d}": [1, 2, 3, 4] for n in range(5)}


def test_each_trial_shows_its_curves_and_its_spec(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw_curves", DRAW_CURVES)
    lab.search(bowl, trials=1)
    storage = lab.study._storage
    found = get_all_artifact_meta(lab.trials[0], storage=storage)
    assert {artifact.filename for artifact in found} == {"curves.png", "spec.json"}
    for artifact in found:
        assert (lab.var / "artifacts" / artifact.artifact_id).stat().st_size > 100


def test_without_the_documented_run_the_first_trial_is_the_samplers(lab: Lab) -> None:
    lab.search(bowl, trials=1, documented=False)
    assert lab.trials[0].params != lab.space.of_documented_run()


def test_trials_are_a_total_and_the_search_goes_on_with_new_configurations(lab: Lab) -> None:
    lab.search(bowl, trials=2)
    assert lab.search(bowl, trials=2).epochs == 0
    lab.search(bowl, trials=5)
    params = [tuple(trial.params.items()) for trial in lab.trials]
    assert len(set(params)) == len(params) == 5


@pytest.mark.parametrize(
    ("sampler", "pruner", "seed"), [("tpe", "none", 2**32), ("gp", "promote", 2**63 - 1)]
)
def test_any_seed_that_the_settings_allow_searches(
    lab: Lab, sampler: str, pruner: str, seed: int
) -> None:
    outcome = lab.search(bowl, trials=2, sampler=sampler, pruner=pruner, seed=seed)
    assert outcome.states == {"complete": 2}


def interrupting(after: int, how: int = signal.SIGINT) -> Callable[[Job], Sequence[EpochFigures]]:
    """The bowl, with a signal when that many epochs have been looked at."""
    asked = iter(range(10**6))

    def curve(job: Job) -> Sequence[EpochFigures]:
        if next(asked) == after:
            os.kill(os.getpid(), how)
        return bowl(job)

    return curve


@pytest.mark.parametrize(
    ("after", "sampler", "pruner"),
    [
        (1, "tpe", "none"),
        (6, "tpe", "median"),
        (17, "tpe", "halving"),
        (23, "tpe", "hyperband"),
        (12, "gp", "none"),
        (25, "gp", "promote"),
        (38, "gp", "promote"),
        (25, "tpe", "promote"),
        (25, "random", "promote"),
    ],
)
def test_a_search_interrupted_and_continued_ends_as_one_that_was_not(
    lab: Lab, tmp_path: Path, after: int, sampler: str, pruner: str
) -> None:
    if pruner == "promote":
        lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)
    other = replace(lab, var=tmp_path / "var undisturbed", said=Said())
    other.search(bowl, trials=8, sampler=sampler, pruner=pruner)
    backend = SimulatedBackend(1, interrupting(after))
    first = lab.search(bowl, trials=8, sampler=sampler, pruner=pruner, backend=backend)
    assert set(first.states) - {"complete", "pruned"} or sum(first.states.values()) < 8
    again = SimulatedBackend(1, bowl)
    again._epochs = backend._epochs  # the checkpoints, which on a disk outlive the process
    lab.search(bowl, trials=8, sampler=sampler, pruner=pruner, backend=again)
    assert told(lab.trials) == told(other.trials)
    assert lab.epochs == other.epochs


def test_what_a_prior_makes_a_search_do_outlives_an_interruption(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=20), 32)
    lab.prior = prior_of("auto", lab.space.distributions())
    search: dict[str, Any] = {"trials": None, "budget": 40, "sampler": "gp", "pruner": "promote"}
    lab.search(bowl, **search)
    decisions = [d for trial in lab.trials for d in trial.user_attrs.get("decisions", [])]
    assert any("started, expected to do well: recorded curves" in each for each in decisions)
    for after in (3, 11, 30):
        again = replace(lab, var=lab.var.with_name(f"interrupted-{after}"))
        backend = SimulatedBackend(1, interrupting(after))
        again.search(bowl, **search, backend=backend)
        resumed = SimulatedBackend(1, bowl)
        resumed._epochs = backend._epochs  # the checkpoints
        again.search(bowl, **search, backend=resumed)
        assert told(again.trials) == told(lab.trials), f"interrupted after {after}"


def test_what_was_begun_goes_on_where_a_worker_has_less_room_now(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)
    backend = SimulatedBackend(1, interrupting(10))
    lab.search(bowl, trials=6, sampler="gp", pruner="promote", backend=backend)
    begun = {trial.number for trial in lab.trials if trial.intermediate_values}
    assert any(trial.state is TrialState.RUNNING for trial in lab.trials)
    lab.memory = 1
    again = SimulatedBackend(1, bowl)
    again._epochs = backend._epochs  # the checkpoints
    outcome = lab.search(bowl, trials=6, sampler="gp", pruner="promote", backend=again)
    assert set(outcome.states) == {"complete"}
    assert {trial.number for trial in lab.trials} == begun  # nothing else fits


def test_an_interrupted_trial_is_paused_not_told(lab: Lab) -> None:
    outcome = lab.search(bowl, backend=SimulatedBackend(1, interrupting(6)))
    assert outcome.states["paused"] == 1
    assert any("paused after epoch" in line for line in lab.said.lines)
    assert TrialState.RUNNING in {trial.state for trial in lab.trials}


@pytest.mark.parametrize("pruner", ["none", "promote"])
def test_a_search_whose_time_is_up_gets_on_by_an_epoch(lab: Lab, pruner: str) -> None:
    outcome = lab.search(bowl, pruner=pruner, timeout=1e-9, workers=2)
    assert (outcome.epochs, outcome.trained) == (1, True)
    assert [len(trial.intermediate_values) for trial in lab.trials] == [1]
    assert lab.search(bowl, trials=5).states == {"complete": 5}


@pytest.mark.parametrize("pruner", ["none", "promote"])
def test_no_epoch_is_begun_that_would_end_too_late(lab: Lab, pruner: str) -> None:
    def curve(job: Job) -> Sequence[EpochFigures]:
        slow = [replace(each, seconds=1e4) for each in bowl(job)]
        return slow if job.run == "trial-00001" else bowl(job)

    outcome = lab.search(curve, pruner=pruner, sampler="random", timeout=1e3, workers=2)
    # How long its epochs take, the first one tells; what is left of all is taken up again.
    assert len(lab.trials) > 1
    slow = lab.trials[1]
    assert slow.state is TrialState.RUNNING
    assert list(slow.intermediate_values) == [1]
    assert "pruned" not in outcome.states
    assert lab.search(bowl, pruner=pruner, sampler="random").states == {"complete": 5}


def test_a_pruned_trial_says_why(lab: Lab) -> None:
    def curve(job: Job) -> Sequence[EpochFigures]:
        good = job.run < "trial-00005"
        return [figures(e, 1.0 if good else 9.0) for e in range(1, EPOCHS + 1)]

    outcome = lab.search(curve, trials=6, pruner="median")
    pruned = lab.trials[5]
    assert outcome.states == {"complete": 5, "pruned": 1}
    assert pruned.state is TrialState.PRUNED
    assert pruned.user_attrs["reason"] == "pruned by median after epoch 3 of 4: val_loss 9.0000"
    assert lab.epochs["trial-00005"] == [1, 2, 3]


def test_a_decision_to_prune_outlives_the_tuner(lab: Lab) -> None:
    lab.search(bowl, backend=SimulatedBackend(1, interrupting(6)))
    study = lab.study_for_writing
    running = next(t for t in study.get_trials() if t.state is TrialState.RUNNING)
    optuna.Trial(study, running._trial_id).set_user_attr("pruned", "by a tuner that died")
    lab.search(bowl)
    trial = lab.trials[running.number]
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs["reason"] == "by a tuner that died"
    assert trial.intermediate_values == running.intermediate_values


def test_epochs_that_only_the_checkpoint_knows_are_recorded(lab: Lab) -> None:
    backend = SimulatedBackend(1, bowl)
    backend._epochs["trial-00000"] = 2
    lab.search(bowl, trials=1, backend=backend)
    assert lab.epochs == {"trial-00000": [1, 2, 3, 4]}
    assert list(lab.trials[0].intermediate_values) == [1, 2, 3, 4]


def test_a_tuner_killed_while_it_begins_a_trial_goes_on_to_the_same_end(lab: Lab) -> None:
    writes, before_second = Writes(), []

    def curve(job: Job) -> Sequence[EpochFigures]:
        if job.run == "trial-00001":
            before_second.append(writes.done)
        return bowl(job)

    lab.search(curve, trials=2, writes=writes)
    begun = before_second[0]  # the trial was drawn, enqueued and begun by the last few writes
    for last in range(begun - 6, begun + 2):
        again = replace(lab, var=lab.var.with_name(f"killed-{last}"), said=Said())
        backend = SimulatedBackend(1, bowl)
        with pytest.raises(Killed):
            again.search(bowl, trials=2, backend=backend, writes=Writes(last))
        again.search(bowl, trials=2, backend=backend)
        assert told(again.trials) == told(lab.trials), f"killed at write {last}"


def test_interrupted_trials_resume_on_the_types_of_processor_that_the_study_names(
    lab: Lab,
) -> None:
    backend = SimulatedBackend(2, bowl, processors="ab")
    with pytest.raises(Killed):
        lab.search(bowl, trials=2, backend=backend, writes=Writes(34))
    survivor = SimulatedBackend(2, bowl, processors="ba")
    survivor._epochs = backend._epochs  # the checkpoints
    assert 0 < min(survivor._epochs.values()) < max(survivor._epochs.values()) < EPOCHS
    assert lab.search(bowl, trials=2, backend=survivor).states == {"complete": 2}
    assert [trial.user_attrs["processors"] for trial in lab.trials] == [["a"], ["b"]]


def test_no_configuration_is_trained_twice_and_a_space_used_up_ends_the_search(lab: Lab) -> None:
    documented = lab.space.of_documented_run() or {}

    class Tiny(Documents):
        def distributions(self):
            all_ = super().distributions()
            fixed = {name: CategoricalDistribution((value,)) for name, value in documented.items()}
            return {**fixed, "batch_size": all_["batch_size"]}

    lab.space = Tiny(TrainingDefaults(epochs=EPOCHS), 32)
    outcome = lab.search(bowl, trials=50)
    complete = [t for t in lab.trials if t.state is TrialState.COMPLETE]
    assert sorted(trial.params["batch_size"] for trial in complete) == [32, 64, 128, 256]
    assert outcome.states == {"complete": 4}
    assert any("no untried configuration left" in line for line in lab.said.lines)
    assert all(
        t.state is TrialState.COMPLETE or "duplicate of trial" in t.user_attrs for t in lab.trials
    )


def test_several_workers_share_the_trials(lab: Lab) -> None:
    outcome = lab.search(bowl, trials=10, workers=4)
    assert outcome.states == {"complete": 10}
    assert all(epochs == [1, 2, 3, 4] for epochs in lab.epochs.values())


def test_only_the_best_keep_their_checkpoints(lab: Lab) -> None:
    layout = Layout(lab.var)

    def curve(job: Job) -> Sequence[EpochFigures]:
        job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoint.npz", "checkpoint.npz.previous"):
            job.checkpoint.with_name(name).touch()
        return bowl(job)

    lab.search(curve, trials=6, keep=2)
    best = sorted(lab.trials, key=lambda t: t.value or math.inf)[:2]
    kept = {n for n in range(6) if layout.run("lab", f"trial-{n:05d}").checkpoint.exists()}
    assert kept == {trial.number for trial in best}
    assert not list(lab.var.rglob("checkpoint.npz.previous"))


def test_the_display_hears_how_far_the_search_is(lab: Lab) -> None:
    lab.search(bowl, trials=3)
    assert lab.said.last is not None
    assert (lab.said.last.done, lab.said.last.total) == (3, 3)
    assert lab.said.last.best.startswith("best: ")
    first = next(line for line in lab.said.lines if "complete" in line)
    assert first.startswith("trial 0: complete")
