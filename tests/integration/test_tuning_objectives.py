"""Searches for a front of loss and size: pausing, restarts, and what is said about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from optuna.trial import TrialState

from models.history import EpochFigures
from models.own_ranges import Range, Real, Whole
from models.spec import ModelSpec, OwnSpec, count_operations, count_parameters
from search.protocol import Job
from search.reports import leaderboard
from search.scheduling.prior import prior_of
from search.spaces.builtin import Documents
from search.spaces.hypermodel import OwnNetworks
from search.spaces.training_defaults import TrainingDefaults
from search.study.study_front import front_of
from search.study.trial_figures import figures_of_trials
from search.study.trials import best_trial, lowest
from search.tuning.messages import closing
from search.workers.backends.simulated import SimulatedBackend
from storage.files import Layout
from storage.tables import Records
from tests.support.laboratory import RUNGS, Killed, Lab, Said, Writes, figures, told


def of_size(job: Job) -> Sequence[EpochFigures]:
    """Larger networks reach lower losses, and there is a best learning rate."""
    assert isinstance(job.model, ModelSpec)
    size = count_parameters(job.model, (32, 32, 3), 10)
    level = 3 - np.log10(size) / 3 + abs(np.log10(job.training.learning_rate) + 3) / 2
    return [figures(e, float(level + 1 / e)) for e in range(1, job.training.epochs + 1)]


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A study of val_loss and parameters."""
    return replace(lab, space=Documents(TrainingDefaults(epochs=RUNGS[-1]), 32), size="parameters")


@dataclass
class Watch:
    """Measures latencies as a machine does: each time another one."""

    measured: list[ModelSpec] = field(default_factory=list)

    def __call__(self, job: Job) -> float:
        assert isinstance(job.model, ModelSpec)
        self.measured.append(job.model)
        size = count_operations(job.model, (32, 32, 3), 10)
        return round(0.5 + size / 5e6 + len(self.measured) / 100, 4)


def test_a_search_pauses_and_keeps_its_front_in_the_study(two: Lab) -> None:
    outcome = two.search(of_size, trials=12, sampler="gp", pruner="promote")
    assert outcome.outlook is None
    assert outcome.states["pruned"] >= 4  # which Optuna refuses with several objectives
    study = two.study
    assert len(study.directions) == 2
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    for trial in complete:
        loss, size = trial.values
        assert loss == lowest(trial)
        assert size == trial.user_attrs["parameters"]
        assert trial.user_attrs["decisions"][-1].endswith("likely to be on the front")
    front = front_of(study)
    assert front is not None
    # What the dashboard shows is the front of the complete trials.
    shown = {trial.number for trial in study.best_trials}
    assert {trial.number for trial in front.trials} & {t.number for t in complete} <= shown
    best = best_trial(study)
    assert best is not None
    assert front.trials[-1].number == best.number
    said = closing(study, outcome, Layout(two.var), interrupted=False)
    assert front.lines()[0] == f"front: {len(front.trials)} trials, smallest first"
    assert [line for line in said if line in front.lines()] == front.lines()
    assert two.said.last is not None
    assert two.said.last.best.endswith(f"; front: {len(front.trials)}")


def test_a_tuner_killed_at_any_write_comes_to_the_same_front(two: Lab) -> None:
    def search(at: Lab, backend: SimulatedBackend, writes: Writes | None = None) -> None:
        at.search(of_size, trials=4, sampler="gp", pruner="promote", backend=backend, writes=writes)

    writes = Writes()
    search(two, SimulatedBackend(1, of_size), writes)
    for last in range(60, writes.done, 131):
        again = replace(two, var=two.var.with_name(f"killed-{last}"), said=Said())
        backend = SimulatedBackend(1, of_size)
        with pytest.raises(Killed):
            search(again, backend, Writes(last))
        survivor = SimulatedBackend(1, of_size)
        survivor._epochs = backend._epochs  # the checkpoints
        search(again, survivor)
        assert told(again.trials) == told(two.trials), f"killed at write {last}"
        assert front_of(again.study) == front_of(two.study)


def test_latencies_are_measured_once_for_each_network_and_kept(two: Lab) -> None:
    timed, watch = replace(two, size="latency"), Watch()
    for trials in (6, 12):
        backend = SimulatedBackend(2, of_size, latency=watch)
        timed.search(of_size, trials=trials, sampler="gp", pruner="promote", backend=backend)
    study = timed.study
    assert study.metric_names == ["val_loss", "latency (ms)"]
    kept = {t.number: t.user_attrs["latency (ms)"] for t in study.get_trials()}
    # Rates do not count, and one network may be begun by both workers at once.
    assert len({*kept.values()}) <= len(watch.measured) <= len({*kept.values()}) + 1
    assert {*kept.values()} <= {
        round(0.5 + count_operations(model, (32, 32, 3), 10) / 5e6 + n / 100, 4)
        for n, model in enumerate(watch.measured, 1)
    }
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert trial.values[1] == kept[trial.number]
    front = front_of(study)
    assert front is not None
    assert front.sizes == kept
    assert front.lines()[1].endswith(" ms per image")
    records = Records(timed.storage(write=False).engine)
    known = figures_of_trials(study, records, timed.space)
    assert {number: of["latency"] for number, of in known.items()} == kept
    rows = leaderboard.rows(study, records, Layout(timed.var))
    assert sorted(row.latency_ms or 0 for row in rows) == sorted(kept.values())
    heading, *lines = leaderboard.to_csv(rows).splitlines()
    assert heading.endswith(",latency_ms")
    assert all(float(line.rpartition(",")[2]) > 0.5 for line in lines)


def test_a_killed_search_decides_by_the_latencies_that_are_stored(two: Lab) -> None:
    def search(at: Lab, backend: SimulatedBackend, writes: Writes | None = None) -> None:
        at.search(of_size, trials=5, sampler="gp", pruner="promote", backend=backend, writes=writes)

    prior = prior_of("auto", two.space.distributions())
    through, writes = replace(two, size="latency", prior=prior), Writes()
    search(through, SimulatedBackend(1, of_size, latency=Watch()), writes)
    kept = {t.number: t.user_attrs["latency (ms)"] for t in through.trials}
    for last in range(90, writes.done, 117):
        again = replace(through, var=two.var.with_name(f"killed-{last}"), said=Said())
        backend = SimulatedBackend(1, of_size, latency=Watch())
        with pytest.raises(Killed):
            search(again, backend, Writes(last))
        stored = {t.number: t.user_attrs.get("latency (ms)", 0) for t in again.trials}
        networks = {latency for latency in stored.values() if latency}

        def measure(job: Job, networks: set[float] = networks) -> float:
            fresh = kept[job.trial]
            assert fresh not in networks  # those are known
            return fresh

        survivor = SimulatedBackend(1, of_size, latency=measure)
        survivor._epochs = backend._epochs  # the checkpoints
        search(again, survivor)
        assert told(again.trials) == told(through.trials), f"killed at write {last}"
        assert front_of(again.study) == front_of(through.study)


def test_own_networks_are_searched_by_latencies_that_are_estimated_first(lab: Lab) -> None:
    ranges: dict[str, Range] = {
        "width": Whole(low=8, high=512, log=True),
        "rate": Real(low=1e-4, high=1e-1, log=True),
    }
    defaults = TrainingDefaults(epochs=RUNGS[-1])
    space = OwnNetworks(defaults, 32, code="net.py:build", digest="00", ranges=ranges)

    def width(job: Job) -> float:
        assert isinstance(job.model, OwnSpec)
        found = job.model.params["width"]
        assert isinstance(found, int)
        return found

    def curve(job: Job) -> Sequence[EpochFigures]:
        return [figures(e, 10 / width(job) + 1 / e) for e in range(1, job.training.epochs + 1)]

    own = replace(lab, space=space, size="latency")
    backend = SimulatedBackend(2, curve, latency=lambda job: width(job) / 100)
    own.search(curve, trials=14, sampler="gp", pruner="promote", documented=False, backend=backend)
    for trial in own.trials:
        assert trial.user_attrs["latency (ms)"] == trial.params["width"] / 100
        if trial.state is TrialState.COMPLETE:
            assert trial.values == [lowest(trial), trial.params["width"] / 100]
    widths = [trial.params["width"] for trial in own.study.best_trials]
    assert max(widths) > 2 * min(widths)
