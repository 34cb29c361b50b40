"""The state of a running search, and every decision about its trials.

Pure: events in, instructions out; no clock, no database, no Keras. A state rebuilt from the stored
study makes the same decisions as the original one, so a restart is exact.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.console.text import plural
from search.protocol import PATIENCE, Verdict
from search.scheduling import events
from search.scheduling import instructions as do
from search.scheduling.asha import (
    Chooser,
    NextTraining,
    ObservedTrial,
    next_rung,
    standing,
    why_left,
)
from search.scheduling.events import Event
from search.scheduling.failures import HOPELESS, Failures
from search.scheduling.instructions import Instruction
from search.scheduling.limits import Limits, Stored, epochs_left
from search.scheduling.stopping import Outlook, outlook
from search.scheduling.time_budget import TimeBudget
from search.scheduling.trial_table import TrialTable
from search.spaces.unit_cube import Params


@dataclass
class _Job:
    """A trial under way, the epoch at which it is judged, and what its last epoch took."""

    number: int
    goal: int
    seconds: float = 0.0


class SearchState:
    """The state of a search; ``handle`` is the only thing that changes it.

    Attributes:
        limits: How much it may train.
        trials: Those that count.
        rungs: Epochs after which trials are paused; empty where they are not.
        trouble: Why the search has to stop; empty if it has not.
        hopeless: Whether the trouble is that every trial fails.
        flat: Why the search ends before its time; empty if it does not.
        time: The time it may take, and what its epochs have taken.

    Args:
        chooser: Chooses between new and paused trials.
        limits: How much the search may train.
        stored: What the study holds.
        slots: Numbers of the slots.
        fault: Says of a configuration why it cannot be trained here; empty where it can.
    """

    def __init__(
        self,
        chooser: Chooser,
        limits: Limits,
        stored: Stored,
        slots: Sequence[int],
        fault: Callable[[Params], str] = lambda _params: "",
    ) -> None:
        self.limits = limits
        self.trials = TrialTable()
        self.rungs = limits.rungs
        self.trouble = self.flat = ""
        self.hopeless = False
        self.time = TimeBudget(limits.timeout)
        self._chooser = chooser
        self._fault = fault
        self._slots = sorted(slots)
        self._jobs: dict[int, _Job] = {}
        self._beginning: dict[int, str] = {}  # slots whose trial is being begun, with the decision
        self._enqueued = stored.enqueued
        self._pruned = set(stored.pruned)  # decided, and not carried out
        self._failures = Failures(stored.deaths)
        self._unfinished: deque[int] = deque()  # broken off between rungs
        self._used_up = False  # every further configuration was trained before
        self._stopping = False
        self._nothing_at = -1  # changes of the trials when there was nothing to choose
        for trial in stored.trials:
            self.trials.add(trial)
            if trial.number in stored.pruned:
                self.trials.put(trial.number, "over")
            elif trial.state == "running":
                self._unfinished.append(trial.number)
        for number, epoch in stored.reported:
            self.trials.recall(number, epoch)

    # What is asked about it.

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    @property
    def unfinished(self) -> int:
        """Trials that were broken off and have to be resumed."""
        return len(self._unfinished)

    @property
    def paused(self) -> int:
        """Trials that wait to be promoted."""
        return sum(trial.state == "paused" for trial in self.trials)

    @property
    def is_over(self) -> bool:
        """Whether the study has its budget of epochs, or has come to a stop."""
        budget = self.limits.budget
        return bool(self.flat) or (budget is not None and self.trials.spent >= budget)

    @property
    def is_closing(self) -> bool:
        """Whether no trial is to be begun or resumed any more."""
        return self.time.is_up or self._is_ending

    @property
    def may_audit(self) -> bool:
        """Whether pruned trials may be trained to their end, now that the search is over."""
        return not (self.trouble or self._stopping) and self.time.left > 0

    @property
    def may_retry(self) -> bool:
        """Whether a trial may be begun in the place of one that never trained."""
        most = self.limits.trials
        return not self.is_closing and (most is None or len(self.trials) <= most)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the search is likely to end; None while that is not known."""
        left = epochs_left(self.trials, self.limits, used_up=self._used_up)
        return self.time.estimate(left, len(self._slots))

    def outlook(self) -> Outlook | None:
        """What another hour is likely to bring."""
        epochs = self.time.epochs_an_hour(len(self._slots))
        return outlook(self.trials.lowest, epochs, self.limits.epochs)

    # What happens.

    def begin(self) -> list[Instruction]:
        """What is to be done first: end what an earlier tuner had decided to prune."""
        found: list[Instruction] = [
            do.FinishTrial(number, "pruned") for number in sorted(self._pruned)
        ]
        if self._unfinished and not self.is_closing:
            found.append(do.Say(f"resuming {plural(len(self._unfinished), 'unfinished trial')}"))
        return found

    def handle(self, event: Event) -> list[Instruction]:
        """Take an event in; returns what is to be done, in order."""
        self.time.now = max(self.time.now, event.at)
        found: list[Instruction] = []
        match event:
            case events.Tick():
                self._fill(found)
            case events.StopRequested():
                self._stopping = True
            case events.SlotAdded():
                self._slots = sorted({*self._slots, event.slot})
            case events.SlotRemoved():
                self._slots = [slot for slot in self._slots if slot != event.slot]
                if event.slot in self._jobs:
                    self._broken_off(event.slot, "its slot was removed", found)
            case events.TrialBegun():
                self._begun(event, found)
            case events.JobResumed():
                job = self._jobs[event.slot]
                job.seconds = event.seconds
                for epoch, loss in enumerate(event.losses, 1):
                    self.trials.learn(job.number, epoch, loss)
                self._answer(event, found)
            case events.EpochEnded():
                job = self._jobs[event.slot]
                job.seconds = event.seconds
                self._failures.gets_on()
                self.time.epoch_took(event.seconds)
                self.trials.learn(job.number, event.epoch, event.loss)
                self._look_ahead(found)
                self._answer(event, found)
            case events.JobPaused():
                number = self._jobs.pop(event.slot).number
                self._let_go(number)
                had = len(self.trials[number].losses)
                found.append(do.ReleaseSlot(event.slot, f"paused after epoch {had}", paused=True))
            case events.JobDone():
                found.append(self._finish(event.slot, "complete"))
            case events.JobStopped():
                found.append(self._finish(event.slot, "pruned"))
            case events.JobFailed():
                self._failed(event, found)
            case events.WorkerHung():
                found.append(do.KillWorker(event.slot, event.reason))
        return found

    def retry(self, number: int, *, enqueued: bool) -> None:
        """Let a trial that never trained count no more.

        One in its place was ``enqueued`` just now, or had been before.
        """
        self.trials.forget(number)
        self._enqueued += enqueued

    def end(self) -> list[Instruction]:
        """What is to be done when no job is left: paused trials end, if the search is over."""
        if self.trouble or not (self.is_over or not self.is_closing):
            return []
        trials = list(self.trials)
        ended = self.flat or f"the budget of {self.limits.budget} epochs is used up"
        reasons = {
            trial.number: why_left(trials, trial, self.rungs) if trial.state == "paused" else ended
            for trial in trials
            if trial.state != "over"
        }
        for number in reasons:
            self.trials.put(number, "over")
        return [do.FinishTrial(number, "pruned", reason) for number, reason in reasons.items()]

    # Free slots.

    def _fill(self, found: list[Instruction]) -> None:
        """Give free slots jobs: what was broken off, then what was enqueued, then a choice."""
        for slot in self._slots:
            while slot not in self._jobs and slot not in self._beginning:
                if self.is_closing:
                    return
                if self._unfinished:
                    self._start(slot, self._unfinished.popleft(), "", found)
                elif self._wants_new and self._enqueued:
                    self._enqueued -= 1
                    self._beginning[slot] = ""
                    found.append(do.BeginEnqueued(slot))
                    return
                elif not self._start_chosen(slot, found):
                    return

    def _start_chosen(self, slot: int, found: list[Instruction]) -> bool:
        """Start what is best trained next; whether to look for more."""
        wanted_new = self._wants_new
        if not (wanted_new or self.rungs) or self._nothing_at == self.trials.changes:
            return False
        choice = self._choose(found)
        if choice is None:
            if wanted_new:
                found.append(do.Say("no untried configuration left: starting no new trial"))
            else:
                self._nothing_at = self.trials.changes
            return wanted_new  # paused trials may yet be resumed
        if choice.number is not None:
            self._start(slot, choice.number, choice.reason, found)
            return True
        self._beginning[slot] = choice.reason
        found.append(do.BeginTrial(slot, choice.params))
        return False  # until it has a number

    def _begun(self, event: events.TrialBegun, found: list[Instruction]) -> None:
        reason = self._beginning.pop(event.slot)
        first = self.trials.add(ObservedTrial(event.number, event.params, (), "running"))
        if first != event.number:
            found.append(do.RefuseDuplicate(event.number, first))
        else:
            self._start(event.slot, event.number, reason, found)
        self._fill(found)

    def _start(self, slot: int, number: int, reason: str, found: list[Instruction]) -> None:
        self.time.begun = True
        trial = self.trials[number]
        # What was begun goes on, though workers may have less memory than they had then.
        fault = "" if trial.losses else self._fault(trial.params)
        if fault:
            self.trials.unfit(number)
            found.append(do.RefuseUnfit(number, fault))
            return
        had = len(trial.losses)
        self._jobs[slot] = _Job(number, self._goal(number))
        text = f"after epoch {had}: continued, {reason}" if reason else ""
        found.append(do.StartJob(slot, number, text))

    def _choose(self, found: list[Instruction]) -> NextTraining | None:
        """What a free worker is to train; None for nothing."""
        new, paused = self._wants_new, bool(self.rungs)
        choice = self._chooser.choose(list(self.trials), new=new, paused=paused)
        self._used_up = self._used_up or (new and choice is None)
        if self._chooser.memory is not None:
            found.append(do.NoteMemory(self._chooser.memory))
        return choice

    @property
    def _wants_new(self) -> bool:
        most = self.limits.trials
        return not self._used_up and (most is None or len(self.trials) < most)

    # Jobs under way.

    def _answer(
        self, event: events.JobResumed | events.EpochEnded, found: list[Instruction]
    ) -> None:
        job = self._jobs[event.slot]
        verdict = Verdict.GO_ON
        if not event.last:
            if not self.rungs and event.prune:
                # Even if nothing is to go on: an interrupted search decides as one that was not.
                self._pruned.add(job.number)
                found.append(do.NotePruned(job.number))
                verdict = Verdict.STOP
            elif self.time.lacks(job.seconds) or self._is_ending or not self._passes(job, found):
                verdict = Verdict.PAUSE
        found.append(do.Answer(event.slot, verdict))

    def _passes(self, job: _Job, found: list[Instruction]) -> bool:
        """Whether a trial goes on; at a rung only if it is what is best trained next."""
        trial = self.trials[job.number]
        epoch = len(trial.losses)
        if not self.rungs or epoch < job.goal:
            return True
        self.trials.put(job.number, "paused")
        choice = self._choose(found)
        rank, count = standing(list(self.trials), trial, epoch)
        # Until its worker has let go of it, it is not there to be resumed by another.
        self.trials.put(job.number, "running")
        if choice is None or choice.number != job.number:
            text = f"after epoch {epoch}: paused, rank {rank} of {count} there"
            found.append(do.NoteDecision(job.number, text))
            return False
        text = f"after epoch {epoch}: continued, {choice.reason}"
        found.append(do.NoteDecision(job.number, text))
        job.goal = self._goal(job.number)
        return True

    @property
    def _is_ending(self) -> bool:
        """Whether the search ends for another reason than the time."""
        return self._stopping or bool(self.trouble) or self.is_over

    def _look_ahead(self, found: list[Instruction]) -> None:
        """End the search if it has come to a stop and is to end then."""
        ahead = self.outlook() if self.limits.stop_when_flat and not self.flat else None
        if ahead is not None and ahead.flat:
            self.flat = f"the search was flat ({ahead})"
            found.append(do.Say(f"{self.flat}: ending it"))

    # Ends of jobs.

    def _failed(self, event: events.JobFailed, found: list[Instruction]) -> None:
        number = self._jobs[event.slot].number
        mark: do.Mark
        if event.kind == "died" and not self._stopping and self._dies_seldom(number, found):
            self._broken_off(event.slot, event.reason, found)
            return
        if number in self._pruned:
            found.append(self._finish(event.slot, "pruned"))
            return
        del self._jobs[event.slot]
        if event.kind == "surroundings":
            self._let_go(number)
            self.trouble = self.trouble or event.reason
            found.append(do.ReleaseSlot(event.slot, f"paused: {event.reason}"))
        elif event.kind == "died" and self._stopping:
            self._let_go(number)
            found.append(do.ReleaseSlot(event.slot, "stopped; its last complete epoch is saved"))
        elif event.kind in ("diverged", "memory"):
            # Such a configuration is a bad one, and the sampler learns that from PRUNED; FAIL,
            # which it ignores, is for what was not the configuration's doing.
            self._failures.gets_on()
            self.trials.unfit(number)
            mark = "memory" if event.kind == "memory" else "unfit"
            found.append(do.FinishTrial(number, "pruned", event.reason, event.slot, mark))
        else:
            if not self.trials[number].losses:
                self._failed_at_the_start(event, number)
            # It broke by no fault of its configuration: nothing is learned from it.
            self.trials.unlearn(number)
            mark = "own" if event.own_code else ""
            found.append(do.FinishTrial(number, "failed", event.reason, event.slot, mark))

    def _failed_at_the_start(self, event: events.JobFailed, number: int) -> None:
        """Stop a search in which every trial fails before its first epoch."""
        # A configuration that the user's code fails with again says nothing about the others.
        failed = self._failures.at_once(counts=not (event.own_code and event.retried))
        # Failures are quick: one begun earlier may still be in its first epoch, and do well.
        waiting = any(
            job.number < number and not self.trials[job.number].losses
            for job in self._jobs.values()
        )
        if failed >= HOPELESS and not waiting and not self.trouble:
            self.hopeless = True
            self.trouble = (
                f"{failed} trials in a row failed before their first epoch, "
                f"the last one: {event.reason}"
            )

    def _broken_off(self, slot: int, reason: str, found: list[Instruction]) -> None:
        """A job has ended in the middle of an epoch: its trial is resumed first.

        Unless it was pruned. At a rung it is as any paused trial: what was decided there, a state
        rebuilt from the store would not know.
        """
        if self._jobs[slot].number in self._pruned:
            found.append(self._finish(slot, "pruned"))
            return
        number = self._jobs.pop(slot).number
        if len(self.trials[number].losses) in self.rungs[:-1]:
            self.trials.put(number, "paused")
        else:
            self._unfinished.appendleft(number)
        found.append(do.ReleaseSlot(slot, f"{reason}; resuming from its last epoch"))

    def _dies_seldom(self, number: int, found: list[Instruction]) -> bool:
        """Whether a trial whose worker has died is to be tried again."""
        epoch = len(self.trials[number].losses)
        times = self._failures.death(number, epoch)
        found.append(do.NoteDeath(number, epoch, times))
        return times < PATIENCE

    def _finish(self, slot: int, state: do.Ended) -> do.FinishTrial:
        number = self._jobs.pop(slot).number
        self.trials.put(number, "over")
        return do.FinishTrial(number, state, slot=slot)

    def _goal(self, number: int) -> int:
        """Take a trial up, new or not; the epoch at which it is judged."""
        trial = self.trials.put(number, "running")
        return next_rung(self.rungs, len(trial.losses)) if self.rungs else self.limits.epochs

    def _let_go(self, number: int) -> None:
        """A worker has let a trial go before its end."""
        if len(self.trials[number].losses) in self.rungs[:-1]:
            self.trials.put(number, "paused")
        else:
            self._unfinished.append(number)
