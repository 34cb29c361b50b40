"""The rules of a search's state, one by one."""

from typing import Any

import pytest

from search.protocol import PATIENCE, Verdict
from search.scheduling import events
from search.scheduling import instructions as do
from search.scheduling.asha import AsyncHalving
from search.scheduling.chooser import ObservedTrial
from search.scheduling.failures import HOPELESS
from search.scheduling.limits import Limits, Stored
from search.scheduling.search_state import SearchState
from tests.support.search_states import EPOCHS, fault, propose


def started(limits: Limits, slots: int = 1, **stored: Any) -> SearchState:
    """A state whose first trial, or trials, are in their slots."""
    here = dict.fromkeys(range(slots), "")
    state = SearchState(AsyncHalving(EPOCHS, propose), limits, Stored(**stored), here, fault)
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


def interrupted(*processors: str) -> dict[str, Any]:
    """What is stored of trials that were interrupted within an epoch, on these processors."""
    trials = [
        ObservedTrial(number, {"x": number}, (1.0,), "running") for number in range(len(processors))
    ]
    known = {number: name for number, name in enumerate(processors) if name}
    return {"trials": trials, "processors": known}


def test_a_trial_resumes_on_its_own_type_of_processor_and_no_slot_waits_for_one() -> None:
    state = started(Limits(EPOCHS, False, 3), slots=0, **interrupted("a", "b", "b"))
    for slot, processor in enumerate("bab"):
        state.handle(events.SlotAdded(0.0, slot, processor))
    assert state.handle(events.Tick(0.0)) == [do.StartJob(1, 0)]
    assert state.handle(events.Tick(0.0)) == [do.StartJob(0, 1)]
    state.handle(events.SlotRemoved(0.0, 2))
    assert state.handle(events.Tick(0.0)) == []
    state.handle(events.SlotAdded(0.0, 3, "a"))
    assert state.handle(events.Tick(0.0)) == [do.StartJob(3, 2)]
    state.handle(events.JobFailed(1.0, 3, "lost", "node x has left"))
    for slot, processor in ((4, "b"), (5, "a")):
        state.handle(events.SlotAdded(1.0, slot, processor))
    state.handle(events.SlotRemoved(1.0, 3))
    assert state.handle(events.Tick(1.0)) == [do.StartJob(5, 2)]  # where it was last, not first


def test_a_paused_trial_that_is_promoted_gets_a_slot_of_its_type() -> None:
    trials = [
        ObservedTrial(number, {"x": number}, (1.0 + number,) * 3, "paused") for number in range(3)
    ]
    state = started(Limits(EPOCHS, True, 3), slots=0, trials=trials, processors={0: "b"})
    for slot, processor in enumerate("aab"):
        state.handle(events.SlotAdded(0.0, slot, processor))
    (start,) = state.handle(events.Tick(0.0))
    assert isinstance(start, do.StartJob)
    assert (start.slot, start.number) == (2, 0)


@pytest.mark.parametrize("here", ["", "a"])
@pytest.mark.parametrize("before", [("", "", ""), ("a", "", "a"), ("", "a", "a")])
def test_with_one_type_of_processor_trials_and_slots_keep_their_order(
    here: str, before: tuple[str, ...]
) -> None:
    state = started(Limits(EPOCHS, False, 3), slots=0, **interrupted(*before))
    for slot in range(3):
        state.handle(events.SlotAdded(0.0, slot, here))
    wanted = [state.handle(events.Tick(0.0)) for _ in range(3)]
    assert wanted == [[do.StartJob(number, number)] for number in range(3)]


def waits(state: SearchState) -> bool:
    return state.awaits_slot


def test_a_lost_machine_is_no_death_and_a_search_without_slots_waits_for_one() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    for slot in range(PATIENCE + 1):
        (release,) = state.handle(events.JobFailed(1.0, slot, "lost", "node x has left"))
        assert release == do.ReleaseSlot(
            slot, "node x has left; resuming from its last epoch", paused=False
        )
        state.handle(events.SlotRemoved(1.0, slot))
        assert state.handle(events.Tick(1.0)) == []
        assert waits(state)
        assert state.seconds_left is None
        state.handle(events.SlotAdded(1.0, slot + 1))
        assert not waits(state)
        assert state.handle(events.Tick(1.0)) == [do.StartJob(slot + 1, 0)]
    state.handle(events.JobDone(1.0, PATIENCE + 1))
    state.handle(events.SlotRemoved(1.0, PATIENCE + 1))
    assert not waits(state)


def test_a_search_that_was_asked_to_stop_waits_for_no_slot() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=1))
    state.handle(events.StopRequested(1.0))
    (release,) = state.handle(events.JobFailed(1.0, 0, "lost", "node x has left"))
    assert isinstance(release, do.ReleaseSlot)
    state.handle(events.SlotRemoved(1.0, 0))
    assert not state.awaits_slot


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
    state = SearchState(AsyncHalving(EPOCHS, propose), limits, stored, {0: ""})
    assert state.begin() == [do.RefuseDuplicate(1, 0)]
    assert state.handle(events.Tick(0.0)) == []


def test_trials_that_the_users_code_prunes_are_no_failures_however_many_they_are() -> None:
    state = started(Limits(EPOCHS, pausing=False, trials=30))
    for number in range(2 * HOPELESS):
        *_, end = state.handle(events.JobFailed(1.0, 0, "pruned", "too large", own_code=True))
        assert end == do.FinishTrial(number, "pruned", "too large", 0, "unfit")
        *_, begin = state.handle(events.Tick(1.0))
        assert isinstance(begin, do.BeginTrial)
        state.handle(events.TrialBegun(1.0, 0, number + 1, begin.params))
    assert not state.trouble
