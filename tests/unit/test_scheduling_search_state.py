"""The state of a search, fed with whatever may happen: a rebuilt one agrees."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from search.protocol import Verdict
from search.scheduling import events
from search.scheduling import instructions as do
from search.scheduling.asha import AsyncHalving
from search.scheduling.chooser import ObservedState, ObservedTrial
from search.scheduling.instructions import Instruction
from search.scheduling.limits import Limits, Stored
from search.scheduling.search_state import SearchState
from search.spaces.unit_cube import Params
from tests.support.search_states import CONFIGURATIONS, EPOCHS, fault, propose


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
    processors: dict[int, str] = field(default_factory=dict)

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
        stored = Stored(
            trials,
            len(self.waiting),
            sorted(self.pruned),
            self.deaths,
            self.reported,
            self.processors,
        )
        types = {slot: type_of(slot) for slot in slots}
        return SearchState(AsyncHalving(EPOCHS, propose), self.limits, stored, types, fault)


def type_of(slot: int) -> str:
    """The type of a slot's processor: there are two."""
    return "ab"[slot % 2]


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
                    self.is_placed(each.number, each.slot)
                    self.jobs[each.slot] = each.number
                    self.store.processors[each.number] = type_of(each.slot)
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
                    self.finish(each.number, "failed")
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

    def is_placed(self, number: int, slot: int) -> None:
        """A resumed trial gets another type of processor only if none of its own is free."""
        if (own := self.store.processors.get(number)) is not None:
            free = {type_of(slot) for slot in self.slots if slot not in self.jobs}
            assert type_of(slot) == own or own not in free

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
        self.hear(events.SlotAdded(self.now, slot, type_of(slot)))

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
TestSearches.settings = settings(max_examples=60, stateful_step_count=40)
