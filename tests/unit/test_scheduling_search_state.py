"""The state of a search, fed with whatever may happen: its rules, and that a rebuilt one agrees."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from search.protocol import PATIENCE, Verdict
from search.scheduling import events
from search.scheduling import instructions as do
from search.scheduling.asha import AsyncHalving
from search.scheduling.chooser import ObservedState, ObservedTrial
from search.scheduling.failures import HOPELESS
from search.scheduling.instructions import Instruction
from search.scheduling.limits import Limits, Stored
from search.scheduling.search_state import SearchState
from search.spaces.unit_cube import Params

EPOCHS = 9
CONFIGURATIONS = 12  # of the space; the last one does not fit


def propose(trials: Sequence[ObservedTrial], _rungs: Sequence[int]) -> Params | None:
    """The first configuration that no trial has."""
    known = {trial.params["x"] for trial in trials}
    return next(({"x": x} for x in range(CONFIGURATIONS) if x not in known), None)


def fault(params: Params) -> str:
    return "too large" if params["x"] == CONFIGURATIONS - 1 else ""


@dataclass
class Store:
    """What a database would hold; carries out what concerns it."""

    limits: Limits
    trials: dict[int, ObservedTrial] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)  # values of x
    pruned: set[int] = field(default_factory=set)
    deaths: dict[int, tuple[int, int]] = field(default_factory=dict)
    reported: list[tuple[int, int]] = field(default_factory=list)
    duplicates: set[int] = field(default_factory=set)

    def state(self, slots: Sequence[int]) -> SearchState:
        """A state rebuilt from what is stored."""
        trials = []
        for number, trial in sorted(self.trials.items()):
            if number in self.duplicates:
                continue
            waits = len(trial.losses) in self.limits.rungs[:-1]
            now: ObservedState = (
                "over" if number in self.ended else "paused" if waits else "running"
            )
            trials.append(replace(trial, state=now))
        stored = Stored(trials, len(self.waiting), sorted(self.pruned), self.deaths, self.reported)
        return SearchState(AsyncHalving(EPOCHS, propose), self.limits, stored, slots, fault)


class Searches(RuleBasedStateMachine):
    """Any order of epochs, pauses, deaths, failures, crashes of the tuner and lost slots."""

    @initialize(
        pausing=st.booleans(),
        trials=st.sampled_from([None, 3, 7, 20]),
        budget=st.sampled_from([None, 20, 60]),
        slots=st.integers(1, 3),
        enqueued=st.lists(st.integers(0, 3), max_size=3),
    )
    def begin(
        self,
        pausing: bool,
        trials: int | None,
        budget: int | None,
        slots: int,
        enqueued: list[int],
    ) -> None:
        self.store = Store(Limits(EPOCHS, pausing, trials, budget), waiting=list(enqueued))
        self.slots = list(range(slots))
        self.restart()

    def restart(self) -> None:
        self.jobs: dict[int, int] = {}
        self.answers: dict[int, Verdict] = {}
        self.over: set[int] = set()  # slots whose training has come to its end
        self.stopped = False
        self.now = 0.0
        self.state = self.store.state(self.slots)
        self.carry_out(self.state.begin())
        self.store.pruned.clear()

    def carry_out(self, wanted: Sequence[Instruction]) -> None:
        for each in wanted:
            match each:
                case do.BeginTrial():
                    self.begun(each.slot, each.params["x"])
                case do.BeginEnqueued():
                    self.begun(each.slot, self.store.waiting.pop(0))
                case do.StartJob():
                    assert not self.stopped
                    assert each.slot in self.slots
                    assert each.slot not in self.jobs
                    assert each.number not in self.jobs.values()
                    assert each.number not in self.store.ended
                    self.jobs[each.slot] = each.number
                    self.hear(events.Tick(self.now))
                case do.Answer():
                    self.answers[each.slot] = each.verdict
                case do.NotePruned():
                    self.store.pruned.add(each.number)
                case do.NoteDeath():
                    self.store.deaths[each.number] = each.epoch, each.times
                case do.RefuseDuplicate():
                    assert each.first < each.number
                    self.store.duplicates.add(each.number)
                    self.finish(each.number, "failed")
                    self.hear(events.Tick(self.now))
                case do.RefuseUnfit():
                    self.store.trials[each.number] = self.store.trials[each.number].after(
                        float("inf")
                    )
                    self.finish(each.number, "pruned")
                    self.hear(events.Tick(self.now))
                case do.ReleaseSlot():
                    self.free(each.slot)
                case do.FinishTrial():
                    if each.slot is not None:
                        assert self.jobs[each.slot] == each.number
                        self.free(each.slot)
                    trial = self.store.trials[each.number]
                    if each.mark == "unfit":
                        self.store.trials[each.number] = trial.after(float("inf"))
                    elif each.state == "failed":
                        self.store.trials[each.number] = replace(trial, losses=())
                    self.finish(each.number, each.state)

    def begun(self, slot: int, x: int) -> None:
        number = len(self.store.trials)
        most = self.store.limits.trials
        counted = len(self.store.trials) - len(self.store.duplicates)
        assert most is None or counted < most
        self.store.trials[number] = ObservedTrial(number, {"x": x}, (), "running")
        self.carry_out(self.state.handle(events.TrialBegun(self.now, slot, number, {"x": x})))

    def free(self, slot: int) -> None:
        del self.jobs[slot]
        self.answers.pop(slot, None)
        self.over.discard(slot)

    def finish(self, number: int, state: str) -> None:
        assert number not in self.store.ended, "a trial ends once"
        self.store.ended[number] = state
        self.store.pruned.discard(number)

    def hear(self, event: events.Event) -> None:
        self.carry_out(self.state.handle(event))

    @rule()
    def tick(self) -> None:
        self.now += 0.2
        self.hear(events.Tick(self.now))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), loss=st.floats(0.1, 3), prune=st.booleans())
    def epoch(self, data: st.DataObject, loss: float, prune: bool) -> None:
        """A worker gets on: by an epoch, or to the end that it was told."""
        slot = data.draw(st.sampled_from(sorted(self.jobs)))
        number = self.jobs[slot]
        verdict = self.answers.get(slot)
        if verdict is Verdict.PAUSE:
            self.hear(events.JobPaused(self.now, slot))
        elif verdict is Verdict.STOP:
            self.hear(events.JobStopped(self.now, slot))
        elif slot in self.over:
            self.hear(events.JobDone(self.now, slot))
        elif verdict is None:
            losses = self.store.trials[number].losses
            last = len(losses) >= EPOCHS
            self.over |= {slot} if last else set()
            self.hear(events.JobResumed(self.now, slot, losses, 1.0 if losses else 0.0, last))
            assert slot in self.answers
        else:
            trial = self.store.trials[number] = self.store.trials[number].after(loss)
            done = len(trial.losses)
            self.store.reported.append((number, done))
            last = done >= EPOCHS
            self.over |= {slot} if last else set()
            self.now += 1
            self.hear(
                events.EpochEnded(
                    self.now, slot, done, loss, 1.0, last, prune and not self.state.rungs
                )
            )

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), kind=st.sampled_from(["died", "died", "diverged", "error"]))
    def failure(self, data: st.DataObject, kind: str) -> None:
        slot = data.draw(st.sampled_from(sorted(self.jobs)))
        number = self.jobs[slot]
        self.hear(events.JobFailed(self.now, slot, kind, "because"))
        assert slot not in self.jobs or self.jobs[slot] != number
        if kind != "died" or number in self.store.pruned:
            assert number in self.store.ended

    @precondition(lambda self: len(self.slots) > 1)
    @rule(data=st.data())
    def slot_lost(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots))
        self.slots.remove(slot)
        self.hear(events.SlotRemoved(self.now, slot))
        assert slot not in self.jobs

    @precondition(lambda self: len(self.slots) < 3)
    @rule()
    def slot_found(self) -> None:
        slot = max(self.slots) + 1
        self.slots.append(slot)
        self.hear(events.SlotAdded(self.now, slot))

    @rule()
    def user_stops(self) -> None:
        self.stopped = True
        self.hear(events.StopRequested(self.now))

    @rule()
    def tuner_dies(self) -> None:
        self.restart()

    @precondition(lambda self: not self.jobs)
    @rule()
    def search_ends(self) -> None:
        self.hear(events.Tick(self.now))
        if not self.jobs:
            self.carry_out(copy.deepcopy(self.state).end())
            self.restart()

    @invariant()
    def a_rebuilt_state_knows_the_same(self) -> None:
        rebuilt = self.store.state(self.slots)
        ours = [(t.number, t.params, t.losses) for t in self.state.trials]
        assert ours == [(t.number, t.params, t.losses) for t in rebuilt.trials]
        assert self.state.trials.lowest == rebuilt.trials.lowest
        assert self.state.is_over == rebuilt.is_over

    @invariant()
    def a_rebuilt_state_wants_the_same(self) -> None:
        """As soon as the workers that are under way have let go of their trials."""
        if self.state.trouble or self.stopped:
            return
        ours = copy.deepcopy(self.state)
        for slot, number in self.jobs.items():
            trial = self.state.trials[number]
            if number in self.store.pruned:
                ours.handle(events.JobStopped(self.now, slot))
            elif len(trial.losses) in ours.rungs[:-1]:
                ours.handle(events.JobPaused(self.now, slot))
            else:
                ours.handle(events.SlotRemoved(self.now, slot))
        many = range(10, 10 + CONFIGURATIONS)
        assert next_of(ours, self.slots, many) == next_of(
            self.store.state(self.slots), self.slots, many
        )


def next_of(
    state: SearchState, slots: Sequence[int], others: Sequence[int]
) -> tuple[set[int], list[Params | str]]:
    """What a state would have done on fresh slots: the trials resumed, and what comes after."""
    for slot in slots:
        state.handle(events.SlotRemoved(0.0, slot))
    for slot in others:
        state.handle(events.SlotAdded(0.0, slot))
    wanted = state.handle(events.Tick(0.0))
    while wanted and isinstance(wanted[-1], do.StartJob):
        more = state.handle(events.Tick(0.0))
        if not more:
            break
        wanted += more
    resumed = {each.number for each in wanted if isinstance(each, do.StartJob)}
    begun = [
        each.params if isinstance(each, do.BeginTrial) else "enqueued"
        for each in wanted
        if isinstance(each, do.BeginTrial | do.BeginEnqueued)
    ]
    return resumed, begun


TestSearches = Searches.TestCase
TestSearches.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def started(limits: Limits, slots: int = 1, **stored: Any) -> SearchState:
    """A state whose first trial, or trials, are in their slots."""
    state = SearchState(
        AsyncHalving(EPOCHS, propose), limits, Stored(**stored), range(slots), fault
    )
    number = len(state.trials)
    while wanted := state.handle(events.Tick(0.0)):
        if isinstance(wanted[-1], do.BeginTrial):
            begin = wanted[-1]
            state.handle(events.TrialBegun(0.0, begin.slot, number, begin.params))
            number += 1
    return state


def test_a_worker_that_dies_again_and_again_on_one_epoch_fails_its_trial() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    for times in range(1, PATIENCE):
        wanted = state.handle(events.JobFailed(1.0, 0, "died", "SIGSEGV"))
        assert do.NoteDeath(0, 0, times) in wanted
        (resumed,) = state.handle(events.Tick(1.0))
        assert resumed == do.StartJob(0, 0)
    *_, end = state.handle(events.JobFailed(1.0, 0, "died", "SIGSEGV"))
    assert end == do.FinishTrial(0, "failed", "SIGSEGV", 0)


def test_deaths_are_remembered_by_a_rebuilt_state() -> None:
    trial = ObservedTrial(0, {"x": 0}, (1.0,), "running")
    state = started(Limits(EPOCHS, False, 1), trials=[trial], deaths={0: (1, PATIENCE - 1)})
    *_, end = state.handle(events.JobFailed(1.0, 0, "died", "SIGSEGV"))
    assert isinstance(end, do.FinishTrial)


def test_deaths_after_a_lost_checkpoint_count_at_the_epoch_that_is_trained_again() -> None:
    trial = ObservedTrial(0, {"x": 0}, (1.0,) * 5, "running")
    state = started(Limits(EPOCHS, False, 1), trials=[trial])
    for epoch in range(PATIENCE + 1):  # each worker trains one more epoch of what is lost
        state.handle(events.JobResumed(1.0, 0, (1.0,) * epoch, 1.0, last=False))
        state.handle(events.EpochEnded(1.0, 0, epoch + 1, 1.0, 1.0, last=False))
        wanted = state.handle(events.JobFailed(1.0, 0, "died", "SIGKILL"))
        assert do.NoteDeath(0, epoch + 1, 1) in wanted
        assert state.handle(events.Tick(1.0)) == [do.StartJob(0, 0)]
    for times in range(1, PATIENCE + 1):
        state.handle(events.JobResumed(1.0, 0, (1.0,) * 2, 1.0, last=False))
        wanted = state.handle(events.JobFailed(1.0, 0, "died", "SIGKILL"))
        assert do.NoteDeath(0, 2, times) in wanted
        state.handle(events.Tick(1.0))
    assert wanted[-1] == do.FinishTrial(0, "failed", "SIGKILL", 0)


def test_a_worker_that_dies_before_it_resumes_counts_at_the_last_known_epoch() -> None:
    trial = ObservedTrial(0, {"x": 0}, (1.0,) * 5, "running")
    state = started(Limits(EPOCHS, False, 1), trials=[trial])
    assert do.NoteDeath(0, 5, 1) in state.handle(events.JobFailed(1.0, 0, "died", "SIGKILL"))


def test_a_search_in_which_every_trial_fails_at_once_stops() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=30))
    for number in range(HOPELESS):
        assert not state.trouble
        state.handle(events.JobFailed(1.0, 0, "error", "no such layer"))
        begin = [w for w in state.handle(events.Tick(1.0)) if isinstance(w, do.BeginTrial)]
        if begin:
            state.handle(events.TrialBegun(1.0, 0, number + 1, begin[0].params))
    assert state.hopeless
    assert "5 trials in a row failed" in state.trouble


@pytest.mark.parametrize(("left", "may"), [(5.0, True), (-1.0, False)])
def test_no_audit_begins_after_the_time(left: float, may: bool) -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1, timeout=100.0))
    state.handle(events.JobDone(100.0 - left, 0))
    assert state.may_audit is may
    state.handle(events.StopRequested(1.0))
    assert not state.may_audit


def test_a_hung_worker_is_killed_and_its_trial_resumed() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    assert state.handle(events.WorkerHung(1.0, 0, "silent")) == [do.KillWorker(0, "silent")]
    state.handle(events.JobFailed(1.0, 0, "died", "silent"))
    assert state.handle(events.Tick(1.0)) == [do.StartJob(0, 0)]


def test_a_slot_that_goes_gives_its_trial_to_another() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    state.handle(events.SlotRemoved(1.0, 0))
    assert state.handle(events.Tick(1.0)) == []
    state.handle(events.SlotAdded(2.0, 4))
    assert state.handle(events.Tick(2.0)) == [do.StartJob(4, 0)]


def test_nothing_begins_that_would_end_too_late() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=9, timeout=100.0), slots=2)
    (answer,) = state.handle(events.EpochEnded(50.0, 0, 1, 1.0, 50.0, last=False))
    assert answer == do.Answer(0, Verdict.PAUSE)
    assert state.is_closing
    state.handle(events.JobPaused(50.0, 0))
    assert state.handle(events.Tick(50.0)) == []


@pytest.mark.parametrize(
    ("prune", "last", "verdict"),
    [
        (True, False, Verdict.STOP),
        (False, False, Verdict.PAUSE),
        (False, True, Verdict.GO_ON),
    ],
)
def test_an_interrupted_search_prunes_what_it_would_have_pruned(
    prune: bool, last: bool, verdict: Verdict
) -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    state.handle(events.StopRequested(1.0))
    *_, answer = state.handle(events.EpochEnded(1.0, 0, 1, 1.0, 1.0, last, prune))
    assert answer == do.Answer(0, verdict)


def test_a_duplicate_that_a_tuner_died_with_is_refused_and_not_trained() -> None:
    first = ObservedTrial(0, {"x": 0}, (1.0,), "over")
    again = ObservedTrial(1, {"x": 0}, (), "running")
    stored = Stored([first, again])
    limits = Limits(EPOCHS, pausing=False, trials=1)
    state = SearchState(AsyncHalving(EPOCHS, propose), limits, stored, [0])
    assert state.begin() == [do.RefuseDuplicate(1, 0)]
    assert state.handle(events.Tick(0.0)) == []
