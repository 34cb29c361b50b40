"""The tuner: the process that owns the study.

It turns messages from workers into events, and executes the instructions of the search state: it
begins trials, starts their jobs, records every epoch, and ends trials.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from data.dataset import Dataset
from models.history import MAXIMISED
from models.spec import OwnSpec
from search.console.text import plural
from search.protocol import (
    Done,
    EpochDone,
    Failed,
    Message,
    Paused,
    Resumed,
    Stopped,
)
from search.scheduling import events, instructions
from search.scheduling.events import Event
from search.scheduling.instructions import Instruction
from search.scheduling.limits import Limits, Stored
from search.scheduling.samplers import make_chooser
from search.scheduling.search_state import SearchState
from search.scheduling.seeds import training_seed
from search.spaces.builtin import Space
from search.spaces.room import Room
from search.study.attributes import DEATHS, PROCESSORS, PRUNED, RETRY_OF
from search.study.recorder import LiveTrial, TrialRecorder
from search.study.trials import (
    counted,
    observed,
    sample_of_pruned,
    states,
)
from search.tuning import messages
from search.tuning.live_trials import LiveTrials
from search.tuning.observers import Observer
from search.tuning.plan import Outcome, Plan
from search.tuning.session import Session
from search.tuning.worker_loop import WorkerLoop, longest

AT_ONCE = 64  # writes in one transaction; more would keep the first workers waiting for it
SHOWN_EVERY = 0.2  # seconds; how far a search is takes a look at every trial

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Tuner:
    """Runs a search. For one call of ``run``."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        data: Dataset,
        plan: Plan,
        session: Session,
        *,
        room: Room,
        observers: Sequence[Observer] = (),
        reported: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Prepare a search among the configurations that fit ``room``.

        ``reported`` are trial number and epoch of all epochs in the study so far, in order of time.
        """
        self._study = study
        # Configurations are drawn before their trials exist, and with this sampler a handle
        # on a trial draws nothing.
        self._study.sampler = RandomSampler(seed=training_seed(plan.seed))
        self._space = space
        self._data = data
        self._plan = plan
        self._room = room
        self._session = session
        self._display = session.display
        self._observers = observers
        self._reported = reported
        self._loop = WorkerLoop(session)
        self._clock = self._loop.watchdog.clock
        self._logs = session.workspace.layout.logs(study.study_name)
        self._recorder = TrialRecorder(
            study,
            session.workspace,
            monitor=plan.monitor,
            keep=plan.keep,
            audits=plan.audit > 0,
            attach=session.attach,
        )
        self._running: dict[int, LiveTrial] = {}
        self._trials = LiveTrials(space, data, plan, self._room, self._recorder)
        self._start = self._clock()
        self._shown = -math.inf  # when the progress was last shown

    def run(self) -> Outcome:
        """Search until the plan is complete, time is up or the user interrupts."""
        self._adopt()
        self._tell(events.Tick(self._now()))
        self._recorder.save()
        while self._running or self._state.awaits_slot:
            for slot, message in self._loop.hear():
                self._hear(slot, message)
                if self._recorder.unsaved >= AT_ONCE:
                    self._recorder.save()
            self._compare_slots()
            for slot, reason in self._loop.look_after().items():
                self._tell(events.WorkerHung(self._now(), slot, reason))
            self._tell(events.Tick(self._now()))
            self._recorder.save()
            if not self._running or self._now() - self._shown >= SHOWN_EVERY:
                workers = self._session.backend.summary
                self._display.overall(
                    messages.overall(self._state, self._plan, self._room, workers)
                )
                self._shown = self._now()
        self._carry_out(self._state.end())
        self._recorder.save()
        self._recorder.tidy(self._to_audit())
        return self._outcome()

    def _outcome(self) -> Outcome:
        state, seconds = self._state, self._now()
        slot_seconds = self._loop.slot_seconds or seconds
        trials = self._study.get_trials(deepcopy=False)
        trouble = state.trouble
        if state.hopeless:
            trouble += f"; see {self._logs}"
        return Outcome(
            states=states(self._study),
            epochs=state.time.epochs,
            images=state.time.epochs * len(self._data.train.labels),
            seconds=seconds,
            training=state.time.epoch_seconds / slot_seconds,
            outlook=state.outlook(),
            flat=state.flat,
            trouble=trouble,
            trained=any(trial.intermediate_values for trial in trials),
            retriable=0 if state.is_over else len(self._trials.retriable(counted(trials))),
            may_audit=state.may_audit,
        )

    def _now(self) -> float:
        """Seconds since the search began, without the time it was suspended."""
        return self._clock() - self._start

    def _to_audit(self) -> list[int]:
        """Numbers of the pruned trials to audit after the search."""
        trials = self._study.get_trials(deepcopy=False) if self._plan.audit else []
        return [
            trial.number for trial in sample_of_pruned(trials, self._plan.audit, self._plan.seed)
        ]

    # Resume what an earlier tuner left.

    def _adopt(self) -> None:
        """Build the search state from the study."""
        plan = self._plan
        trials = self._recorder.adopt()
        self._trials.adopt(trials)
        pausing = plan.pruner == "promote"
        chooser = make_chooser(
            plan.sampler,
            self._space.distributions(),
            self._space.epochs,
            plan.seed,
            study=None if pausing else self._study,
            memory=self._recorder.memory,
            prior=plan.prior,
            room=self._room,
            shares=plan.monitor in MAXIMISED,
            size=plan.size,
        )
        limits = Limits(
            epochs=self._space.epochs,
            pausing=pausing,
            trials=plan.trials,
            budget=plan.budget,
            timeout=plan.timeout,
            stop_when_flat=plan.stop_when_flat,
            by_loss=not plan.size,
        )
        deaths = {t.number: t.user_attrs[DEATHS] for t in trials if DEATHS in t.user_attrs}
        unfinished = [trial for trial in trials if trial.state is TrialState.RUNNING]
        stored = Stored(
            trials=[self._trials.whole(observed(trial, limits.rungs)) for trial in trials],
            enqueued=self._recorder.waiting,
            pruned=[trial.number for trial in unfinished if PRUNED in trial.user_attrs],
            deaths={n: (death["after epoch"], death["times"]) for n, death in deaths.items()},
            reported=self._reported,
            processors={
                t.number: t.user_attrs[PROCESSORS][-1] for t in trials if PROCESSORS in t.user_attrs
            },
        )
        backend = self._session.backend
        self._slots = set(backend.slots)
        slots = {slot: backend.processor(slot) for slot in self._slots}
        self._state = SearchState(chooser, limits, stored, slots, self._room.fault)
        self._retry(trials)  # first: what begins a search may fill slots
        self._carry_out(self._state.begin())

    def _retry(self, trials: Sequence[FrozenTrial]) -> None:
        """Enqueue trials again that could not be trained, as the cause may be gone."""
        retried = 0
        for trial in self._trials.retriable(trials):
            if self._state.may_retry:
                self._state.retry(trial.number, enqueued=self._recorder.retry(trial))
                retried += 1
        if retried:
            self._display.say(f"retrying {plural(retried, 'trial')} that never trained")

    # Messages to events.

    def _hear(self, slot: int, message: Message) -> None:
        live = self._running[slot]
        now = self._now()
        match message:
            case Resumed():
                self._resumed(slot, live, message)
            case EpochDone():
                seconds = self._loop.watchdog.epoch_ended(slot, message.figures.seconds)
                figures = replace(message.figures, seconds=seconds)
                self._recorder.note(live, figures)
                self._display.job_at(slot, figures)
                loss, last = self._recorder.judged(figures), message.last
                prune = self._would_prune(live, last=last)
                self._tell(events.EpochEnded(now, slot, figures.epoch, loss, seconds, last, prune))
                for observer in self._observers:
                    observer.epoch_ended()
            case _:
                self._loop.ended(slot)
                self._tell(self._end_of_job(slot, live, message))

    def _compare_slots(self) -> None:
        """Tell the state which slots have come and gone; jobs of the latter have ended."""
        slots = set(self._session.backend.slots)
        for slot in sorted(self._slots - slots):
            self._tell(events.SlotRemoved(self._now(), slot))
        for slot in sorted(slots - self._slots):
            processor = self._session.backend.processor(slot)
            self._tell(events.SlotAdded(self._now(), slot, processor))
        self._slots = slots

    def _resumed(self, slot: int, live: LiveTrial, message: Resumed) -> None:
        self._trials.resumed(live, message)
        self._loop.watchdog.resumed(slot, longest(message.history))
        for figures in message.history:
            self._recorder.note(live, figures)
        if message.history:
            self._display.job_at(slot, message.history[-1])
        losses = tuple(self._recorder.judged(figures) for figures in message.history)
        seconds = message.history[-1].seconds if message.history else 0.0
        prune = self._would_prune(live, last=message.last)
        self._tell(events.JobResumed(self._now(), slot, losses, seconds, message.last, prune))

    def _would_prune(self, live: LiveTrial, *, last: bool) -> bool:
        """Whether the study's pruner, which reads the study, would end a trial now."""
        if last or self._plan.pruner == "promote":
            return False
        self._recorder.save()
        return live.trial.should_prune()

    def _end_of_job(self, slot: int, live: LiveTrial, message: Message) -> Event:
        now = self._now()
        match message:
            case Paused():
                return events.JobPaused(now, slot)
            case Stopped():
                return events.JobStopped(now, slot)
            case Failed():
                self._recorder.set_by_user(live, message.attributes)
                if message.size is not None:
                    live.parameters = message.size.parameters
                    self._trials.learn(live, message.size)
                own = isinstance(live.model, OwnSpec) and message.kind == "error"
                retried = RETRY_OF in live.attributes
                return events.JobFailed(now, slot, message.kind, message.reason, own, retried)
        assert isinstance(message, Done)
        return events.JobDone(now, slot)

    def _tell(self, event: Event) -> None:
        """Pass an event to the state, and execute its instructions."""
        self._carry_out(self._ask(event))

    def _ask(self, event: Event) -> Sequence[Instruction]:
        """Pass an event to the state, after a request to stop if there is one."""
        if self._session.interruption.asked:
            self._state.handle(events.StopRequested(event.at))
        return self._state.handle(event)

    # Instructions to actions.

    def _carry_out(self, todo: Sequence[Instruction]) -> None:
        queue = deque(todo)
        while queue:
            queue.extend(self._do(queue.popleft()))

    def _do(self, wanted: Instruction) -> Sequence[Instruction]:
        """Execute an instruction, and return the instructions that follow from it."""
        recorder = self._recorder
        match wanted:
            case instructions.BeginTrial():
                return self._has_begun(
                    wanted.slot, recorder.begin(wanted.params, self._space.distributions())
                )
            case instructions.BeginEnqueued():
                return self._has_begun(wanted.slot, recorder.take_waiting())
            case instructions.StartJob():
                self._start_job(wanted)
                return self._ask(events.Tick(self._now()))
            case instructions.Answer():
                answer = partial(self._session.backend.answer, wanted.slot, wanted.verdict)
                recorder.once_saved(answer)
            case instructions.KillWorker():
                self._session.backend.kill(wanted.slot, wanted.reason)
            case instructions.NoteDecision():
                recorder.decided(self._live_of(wanted.number), wanted.text)
            case instructions.NotePruned():
                recorder.decide_pruned(self._live_of(wanted.number), self._plan.pruner)
            case instructions.NoteDeath():
                recorder.note_death(self._live_of(wanted.number), wanted.epoch, wanted.times)
            case instructions.NoteMemory():
                recorder.memory = wanted.memory
            case instructions.RefuseDuplicate():
                recorder.refuse_duplicate(self._trials.handle(wanted.number), wanted.first)
                return self._ask(events.Tick(self._now()))
            case instructions.RefuseUnfit():
                recorder.refuse_unfit(self._trials.handle(wanted.number), wanted.reason)
                self._display.say(f"trial {wanted.number}: not trained: {wanted.reason}")
                self._session.renew()  # many trials may be refused before the next turn
                return self._ask(events.Tick(self._now()))
            case instructions.ReleaseSlot():
                live = self._running.pop(wanted.slot)
                if wanted.paused:
                    recorder.paths(live).remove_checkpoint(but_the_newest=True)
                self._display.job_ended(wanted.slot, f"trial {live.number}: {wanted.line}")
            case instructions.FinishTrial():
                self._finish(wanted)
            case instructions.Say():
                self._display.say(wanted.line)
        return ()

    def _has_begun(self, slot: int, trial: optuna.Trial) -> Sequence[Instruction]:
        params = self._trials.begun(trial)
        return self._ask(events.TrialBegun(self._now(), slot, trial.number, params))

    def _live_of(self, number: int) -> LiveTrial:
        return next(live for live in self._running.values() if live.number == number)

    def _start_job(self, wanted: instructions.StartJob) -> None:
        live = self._trials.open(wanted.number)
        if wanted.decision:
            self._recorder.decided(live, wanted.decision)
        if processor := self._session.backend.processor(wanted.slot):
            self._recorder.note_processor(live, processor)
        self._running[wanted.slot] = live
        self._display.job_started(wanted.slot, f"trial {live.number}", live.training.epochs)
        job = self._trials.job(live)
        self._recorder.once_saved(partial(self._loop.start, wanted.slot, job))

    def _finish(self, wanted: instructions.FinishTrial) -> None:
        """End a trial in the study, and report it."""
        if wanted.slot is None:
            live = self._trials.open(wanted.number)
            self._recorder.recall(live)
        else:
            live = self._running[wanted.slot]
        # A trial that the pruner stopped has its reason in the attribute.
        reason = wanted.reason or str(live.attributes.get(PRUNED, ""))
        if wanted.mark == "own":
            self._recorder.own_fault(live)
        elif wanted.mark:
            self._recorder.unfit(
                live, self._room.limits.memory if wanted.mark == "memory" else None
            )
        self._recorder.end(live, STATES[wanted.state], "" if wanted.state == "complete" else reason)
        self._recorder.save()
        self._session.renew()  # many trials may end before the next turn
        for observer in self._observers:
            observer.trial_ended(self._study)
        if wanted.slot is not None:
            del self._running[wanted.slot]
            line = messages.end_of_trial(wanted, live.history, reason, live.training.monitor)
            self._display.job_ended(wanted.slot, f"trial {live.number}: {line}")
