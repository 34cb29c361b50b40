"""Trials and workers that fail: what it costs, and when the search stops."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from optuna.trial import TrialState

from models.history import EpochFigures
from models.spec import TrainingSpec
from search.clock import Clock
from search.interruption import Interruption
from search.protocol import Done, EpochDone, Failed, Job, Message
from search.scheduling.failures import HOPELESS
from search.study.workspace import Workspace
from search.tuning.job_runner import JobRunner, TrainingTask
from search.tuning.session import Session
from search.workers.backends.simulated import Curve, SimulatedBackend
from search.workers.watchdog import Watchdog
from storage.files import Layout
from storage.tables import Records
from tests.support.laboratory import EPOCHS, Lab, bowl, figures
from tests.support.workers import NETWORK


def failing(steps: Iterator[Failed | None]) -> Curve:
    """The bowl, where each look may find the next epoch broken."""

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        broken = next(steps, None)
        return bowl(job) if broken is None else [*bowl(job)[:2], broken, broken]

    return curve


def test_a_worker_that_dies_costs_the_trial_nothing(lab: Lab) -> None:
    died = Failed("died", "its worker process died: SIGKILL")
    deaths = SimulatedBackend(1, bowl)
    looks = 0

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        nonlocal looks
        looks += 1
        return [*bowl(job)[:2], died, died] if looks < 12 else bowl(job)

    deaths._curve = curve
    outcome = lab.search(bowl, trials=1, backend=deaths)
    assert outcome.states == {"complete": 1}
    assert lab.trials[0].user_attrs["worker deaths"]["after epoch"] == 2
    assert lab.epochs == {"trial-00000": [1, 2, 3, 4]}
    assert any("resuming from its last epoch" in line for line in lab.said.lines)


class Silent(SimulatedBackend):
    """Its first worker says nothing after its first epoch until it is killed.

    The epoch that it was at then arrives before its end. Time passes with each turn.
    """

    def __init__(self) -> None:
        super().__init__(1, bowl)
        self.now = 0.0
        self.killed = ""

    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        self.now += 5.0
        message = self._outbox[0][1] if self._outbox else None
        if not self.killed and isinstance(message, EpochDone) and message.figures.epoch == 2:
            return []
        return super().wait(timeout)

    def kill(self, slot: int, reason: str) -> None:
        self.killed = reason
        super().kill(slot, reason)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    """A backend whose turns are all the time that passes for the watchdog."""
    backend = Silent()
    clocked = partial(Watchdog, clock=Clock(lambda: backend.now))
    monkeypatch.setattr("search.tuning.worker_loop.Watchdog", clocked)
    return backend


def test_an_epoch_that_a_killed_worker_still_reports_counts_in_a_search(
    lab: Lab, silent: Silent
) -> None:
    outcome = lab.search(bowl, trials=2, backend=silent)
    assert "its worker hung: silent for " in silent.killed
    assert outcome.states == {"complete": 2}
    assert lab.epochs == {f"trial-0000{n}": [1, 2, 3, 4] for n in range(2)}
    assert lab.trials[0].user_attrs["worker deaths"] == {"after epoch": 2, "times": 1}


def test_an_epoch_that_a_killed_worker_still_reports_counts_in_a_training(
    lab: Lab, silent: Silent, tmp_path: Path
) -> None:
    storage = lab.storage(write=True)
    place = Workspace(storage, Records(storage.engine, storage.outages), Layout(lab.var))
    training = TrainingSpec(batch_size=4, epochs=EPOCHS)
    job = Job("run", NETWORK, training, tmp_path, seed=1, checkpoint=tmp_path / "c.npz")
    tasks = [TrainingTask("training", job)]
    ends: list[tuple[list[int], Message]] = []
    with Interruption() as interruption:
        JobRunner(Session(place, "lab", silent, lab.said, interruption)).train(
            lambda: tasks.pop() if tasks else None,
            lambda _task, history, end: ends.append(([f.epoch for f in history], end)),
        )
    assert "its worker hung: silent for " in silent.killed
    assert ends == [([1, 2, 3, 4], Done())]


def test_a_trial_that_kills_its_worker_three_times_has_failed(lab: Lab) -> None:
    died = Failed("died", "its worker process died: SIGSEGV")

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        return [figures(1, 1.0), *[died] * 3] if job.run == "trial-00001" else bowl(job)

    outcome = lab.search(curve, trials=3)
    assert outcome.states == {"complete": 2, "fail": 1}
    failed = lab.trials[1]
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["reason"] == died.reason
    assert failed.user_attrs["worker deaths"] == {"after epoch": 1, "times": 3}


def test_a_trial_that_gets_on_between_deaths_is_not_failed(lab: Lab) -> None:
    died = Failed("died", "its worker process died: SIGKILL")
    steps: list[EpochFigures | Failed] = []
    for epoch in range(1, EPOCHS + 1):
        steps += [died, figures(epoch, 1.0)]

    class Mending(SimulatedBackend):
        """Each epoch kills its worker once."""

        def _train(self, slot: int, job: Job) -> None:
            step = steps.pop(0)
            if isinstance(step, EpochFigures):
                self._epochs[job.run] = step.epoch
                last = self._is_over(job)
                self._outbox.append((slot, EpochDone(step, last=last)))
            else:
                self._outbox.append((slot, step))

    curve = [figures(epoch, 1.0) for epoch in range(1, EPOCHS + 1)]
    outcome = lab.search(bowl, trials=1, backend=Mending(1, lambda _: curve))
    assert outcome.states == {"complete": 1}


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("diverged", TrialState.PRUNED),
        ("memory", TrialState.PRUNED),
        ("error", TrialState.FAIL),
    ],
)
def test_a_broken_trial_has_a_state_and_a_reason_and_the_search_goes_on(
    lab: Lab, kind: Literal["diverged", "memory", "error"], state: TrialState
) -> None:
    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        return [Failed(kind, "because")] * 4 if job.run == "trial-00001" else bowl(job)

    lab.search(curve, trials=3)
    assert lab.trials[1].state is state
    assert lab.trials[1].user_attrs["reason"] == "because"
    assert lab.trials[2].state is TrialState.COMPLETE


def test_a_search_in_which_every_trial_fails_at_once_stops(lab: Lab) -> None:
    outcome = lab.search(lambda _: [Failed("error", "no such layer")] * 4, trials=30)
    assert outcome.states == {"fail": HOPELESS}
    said = "5 trials in a row failed before their first epoch, the last one: no such layer; see "
    assert outcome.trouble == said + str(Layout(lab.var).logs("lab"))
    assert not outcome.trained


def test_a_slow_first_epoch_is_waited_for_before_a_search_is_hopeless(lab: Lab) -> None:
    class Slow(SimulatedBackend):
        """The first slot's epochs take as long as nine trials that fail."""

        ended = 0

        def wait(self, timeout: float) -> list[tuple[int, Message]]:
            while self.ended < 9 and any(slot for slot, _ in self._outbox):
                if self._outbox[0][0] or not isinstance(self._outbox[0][1], EpochDone):
                    break
                self._outbox.rotate(-1)
            messages = super().wait(timeout)
            self.ended += sum(isinstance(message, Failed) for _, message in messages)
            return messages

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        number = int(job.run.rpartition("-")[2])
        return [Failed("error", "no such layer")] * 4 if 0 < number < 10 else bowl(job)

    outcome = lab.search(curve, trials=13, backend=Slow(4, curve))
    assert outcome.states == {"fail": 9, "complete": 4}
    assert not outcome.trouble


@pytest.mark.parametrize("good", [[figures(1, 1.0)], [Failed("diverged", "val_loss is nan")]])
def test_failures_that_are_not_all_at_once_stop_nothing(
    lab: Lab, good: list[EpochFigures | Failed]
) -> None:
    """Four fail at once, one gets further or diverges, and so on."""

    def curve(job: Job) -> Sequence[EpochFigures | Failed]:
        number = int(job.run.rpartition("-")[2])
        first = good if number % HOPELESS == 0 else []
        return [*first, *[Failed("error", "no such layer")] * 4]

    outcome = lab.search(curve, trials=2 * HOPELESS + 1)
    assert not outcome.trouble
    assert sum(outcome.states.values()) == 2 * HOPELESS + 1
