"""Pausing and promoting, and the ends of a search that does it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from models.history import EpochFigures
from models.spec import ModelSpec
from search.protocol import Failed, Job
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.study.trials import best_trial, lowest
from search.workers.backends.simulated import SimulatedBackend
from tests.support.laboratory import RUNGS, Killed, Lab, Said, Writes, bowl, figures, told


def test_promising_trials_go_on_and_the_others_are_told_why_not(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)
    outcome = lab.search(bowl, trials=12, sampler="gp", pruner="promote")
    assert outcome.states == {"complete": 4, "pruned": 8}
    assert outcome.epochs == 4 * 9 + 8 * 3
    values = [min(trial.intermediate_values.values()) for trial in lab.trials]
    for trial, value in zip(lab.trials, values, strict=True):
        assert lab.epochs[f"trial-{trial.number:05d}"] == list(trial.intermediate_values)
        if trial.state is TrialState.COMPLETE:
            assert trial.value == value
            assert trial.user_attrs["decisions"][-1].startswith("after epoch 3: continued, expec")
        else:
            assert list(trial.intermediate_values) == [1, 2, 3]
            assert trial.user_attrs["decisions"][0].startswith("after epoch 3: paused, rank ")
            assert trial.user_attrs["reason"].startswith("not promoted beyond epoch 3 of 9: ")
            assert trial.user_attrs["reason"].endswith("; 6 epochs saved")
    complete = [v for t, v in zip(lab.trials, values, strict=True) if t.value is not None]
    assert min(values) == min(complete)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_several_workers_promote_together(lab: Lab, sampler: str) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)
    outcome = lab.search(bowl, trials=14, sampler=sampler, pruner="promote", workers=4)
    assert sum(outcome.states.values()) == 14
    assert outcome.states["complete"] >= 5
    assert outcome.epochs == sum(len(epochs) for epochs in lab.epochs.values())


def test_a_tuner_killed_at_any_write_promotes_as_one_that_was_not(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)

    def search(at: Lab, backend: SimulatedBackend, writes: Writes | None = None) -> None:
        at.search(bowl, trials=4, sampler="gp", pruner="promote", backend=backend, writes=writes)

    writes = Writes()
    search(lab, SimulatedBackend(1, bowl), writes)
    for last in range(30, writes.done, 37):  # a prime: it meets every kind of write
        again = replace(lab, var=lab.var.with_name(f"killed-{last}"), said=Said())
        backend = SimulatedBackend(1, bowl)
        with pytest.raises(Killed):
            search(again, backend, Writes(last))
        survivor = SimulatedBackend(1, bowl)
        survivor._epochs = backend._epochs  # the checkpoints
        search(again, survivor)
        assert told(again.trials) == told(lab.trials), f"killed at write {last}"


def test_a_budget_of_epochs_ends_the_search_and_a_larger_one_goes_on(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)
    outcome = lab.search(bowl, trials=None, budget=20, sampler="gp", pruner="promote")
    assert outcome.epochs == 20
    assert "paused" not in outcome.states
    reasons = {t.user_attrs["reason"] for t in lab.trials if t.state is TrialState.PRUNED}
    assert "the budget of 20 epochs is used up" in reasons
    assert lab.said.last is not None
    assert (lab.said.last.done, lab.said.last.total, lab.said.last.what) == (20, 20, "epochs")
    assert lab.search(bowl, trials=None, budget=20, sampler="gp", pruner="promote").epochs == 0
    assert lab.search(bowl, trials=None, budget=26, sampler="gp", pruner="promote").epochs == 6


def test_a_search_that_has_come_to_a_stop_ends_if_it_is_to(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=1), 32)

    def curve(job: Job) -> Sequence[EpochFigures]:
        loss = max(1.0 - int(job.run[-5:]) / 10, 0.7)
        return [replace(figures(1, loss), seconds=600.0)]

    outcome = lab.search(curve, trials=20, stop_when_flat=True)
    # Six epochs an hour: flat when S² / (S + 6) has come to 4, the epoch of the last gain.
    assert outcome.states == {"complete": 8}
    assert "the search was flat (another hour, about 6 epochs: 0.7000 to " in outcome.flat
    assert outcome.flat in "".join(lab.said.lines)
    assert lab.search(curve, trials=20).states == {"complete": 20}


def test_the_chooser_learns_that_a_configuration_diverges(lab: Lab) -> None:
    lab.space = Documents(TrainingDefaults(epochs=RUNGS[-1]), 32)

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        if job.training.learning_rate > 1e-3:
            return [Failed("diverged", "val_loss is nan after epoch 1")] * 9
        return bowl(job)

    lab.search(curve, trials=20, sampler="gp", pruner="promote")
    diverged = [t for t in lab.trials if t.user_attrs.get("unfit")]
    assert all(t.state is TrialState.PRUNED for t in diverged)
    late = [t for t in diverged if t.number >= 10]
    assert len(late) < len(diverged) - len(late)


@pytest.mark.parametrize(("sampler", "monitor"), [("gp", "val_accuracy"), ("tpe", "val_auc")])
def test_a_figure_of_which_more_is_better_decides(lab: Lab, sampler: str, monitor: str) -> None:
    """Its trials are those of a search that minimises 1 minus it."""
    epochs = RUNGS[-1]
    defaults = TrainingDefaults(epochs=epochs)
    watching = TrainingDefaults.model_validate({**defaults.model_dump(), "monitor": monitor})
    shares = replace(lab, space=Documents(watching, 32), monitor=monitor)
    losses = replace(lab, var=lab.var.with_name("losses"), space=Documents(defaults, 32))

    def value(job: Job, epoch: int) -> float:
        assert isinstance(job.model, ModelSpec)
        return 1 / (3 + job.model.dense.dropout + 100 * job.training.learning_rate + 1 / epoch)

    def share(job: Job) -> Sequence[EpochFigures]:
        curve = [(e, value(job, e)) for e in range(1, epochs + 1)]
        # val_loss says the opposite.
        return [
            EpochFigures(**{**figures(e, 2 + v).to_dict(), monitor: v})  # type: ignore[arg-type]
            for e, v in curve
        ]

    def loss(job: Job) -> Sequence[EpochFigures]:
        return [figures(e, 1 - value(job, e)) for e in range(1, epochs + 1)]

    for place, curve in ((shares, share), (losses, loss)):
        place.search(curve, trials=12, sampler=sampler, pruner="promote")
    assert told(shares.trials) == told(losses.trials)
    best = best_trial(shares.study)
    assert best is not None
    attributes = best.user_attrs
    assert attributes[monitor] == round(1 - lowest(best), 4)
    assert attributes["best epoch"] == len(best.intermediate_values)
    assert attributes["val_loss"] == round(3 - lowest(best), 4)
    last = max(best.intermediate_values)
    assert lowest(best) == best.intermediate_values[last]
