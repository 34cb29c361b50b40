"""The state of a running search, and every decision about its trials.

Pure: events in, instructions out; no clock, no database, no Keras. A state rebuilt from the stored
study makes the same decisions as the original one, so a restart is exact.
"""

from collections.abc import Sequence

from search.console.text import plural
from search.protocol import PATIENCE, Verdict
from search.scheduling import events
from search.scheduling import instructions as do
from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.events import Event
from search.scheduling.failures import HOPELESS
from search.scheduling.instructions import Instruction
from search.scheduling.rungs import next_rung, standing, why_left
from search.scheduling.search_knowledge import RunningJob, SearchKnowledge


class SearchState(SearchKnowledge):
    """The state of a search.

    ``handle`` changes it; besides, ``retry`` at the start of a search and ``end`` at its end.
    """

    def begin(self) -> list[Instruction]:
        """Return the first instructions, for what an earlier tuner left.

        They end trials that it decided to prune, and refuse duplicates that it began.
        """
        instructions: list[Instruction] = [
            do.FinishTrial(number, "pruned") for number in sorted(self._pruned)
        ]
        instructions += [do.RefuseDuplicate(*pair) for pair in self._duplicates]
        if self._unfinished and not self.is_closing:
            instructions.append(
                do.Say(f"resuming {plural(len(self._unfinished), 'unfinished trial')}")
            )
        return instructions

    def handle(self, event: Event) -> list[Instruction]:
        """Handle an event; return the instructions, in order."""
        self.time.now = max(self.time.now, event.at)
        instructions: list[Instruction] = []
        match event:
            case events.Tick():
                self._fill(instructions)
            case events.StopRequested():
                self._stopping = True
            case events.SlotAdded():
                self._slots[event.slot] = event.processor
                self._slots = dict(sorted(self._slots.items()))
            case events.SlotRemoved():
                self._slots.pop(event.slot, None)
                if event.slot in self._jobs:
                    self._broken_off(event.slot, "its slot was removed", instructions)
            case events.TrialBegun():
                self._begun(event, instructions)
            case events.JobResumed():
                job = self._jobs[event.slot]
                job.epoch, job.seconds = len(event.losses), event.seconds
                for epoch, loss in enumerate(event.losses, 1):
                    self.trials.learn(job.number, epoch, loss)
                self._answer(event, instructions)
            case events.EpochEnded():
                job = self._jobs[event.slot]
                job.epoch, job.seconds = event.epoch, event.seconds
                self._failures.gets_on()
                self.time.epoch_took(event.seconds)
                self.trials.learn(job.number, event.epoch, event.loss)
                self._look_ahead(instructions)
                self._answer(event, instructions)
            case events.JobPaused():
                number = self._jobs.pop(event.slot).number
                self._let_go(number)
                had = len(self.trials[number].losses)
                instructions.append(
                    do.ReleaseSlot(event.slot, f"paused after epoch {had}", paused=True)
                )
            case events.JobDone():
                instructions.append(self._finish(event.slot, "complete"))
            case events.JobStopped():
                instructions.append(self._finish(event.slot, "pruned"))
            case events.JobFailed():
                self._failed(event, instructions)
            case events.WorkerHung():
                instructions.append(do.KillWorker(event.slot, event.reason))
        return instructions

    def retry(self, number: int, *, enqueued: bool) -> None:
        """Stop counting a trial that never trained.

        ``enqueued`` says whether its retry was enqueued just now, or earlier.
        """
        self.trials.forget(number)
        self._enqueued += enqueued

    def end(self) -> list[Instruction]:
        """Return the last instructions: end paused trials if the search is over."""
        if self.trouble or (self.is_closing and not self.is_over):
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

    def _fill(self, instructions: list[Instruction]) -> None:
        """Fill a free slot: with an interrupted trial, an enqueued one, or a choice.

        One slot per tick, and one trial: the next choice is made when this one is stored, and a
        request to stop is seen in between. The tuner ticks again at once.
        """
        free = [s for s in self._slots if s not in self._jobs and s not in self._beginning]
        if not free or self.is_closing:
            return
        if self._unfinished:
            number, slot = self._pair(self._unfinished, free)
            self._unfinished.remove(number)
            self._start(slot, number, "", instructions)
        elif self._wants_new and self._enqueued:
            self._enqueued -= 1
            self._beginning[free[0]] = ""
            instructions.append(do.BeginEnqueued(free[0]))
        else:
            while self._start_chosen(free, instructions):
                pass

    def _pair(self, numbers: Sequence[int], free: Sequence[int]) -> tuple[int, int]:
        """A trial and a free slot: the first trial that has one with its type of processor.

        If none has, the first trial and the first slot: no slot waits.
        """
        pairs = ((number, slot) for number in numbers for slot in free)
        return next((pair for pair in pairs if self._suits(*pair)), (numbers[0], free[0]))

    def _suits(self, number: int, slot: int) -> bool:
        """Whether a slot's type of processor is that of a trial, as far as both are known."""
        own, here = self._processors.get(number), self._slots[slot]
        return not (own and here) or own == here

    def _start_chosen(self, free: Sequence[int], instructions: list[Instruction]) -> bool:
        """Start the best next training in a free slot; return whether to look for more."""
        wanted_new = self._wants_new
        if not (wanted_new or self.rungs) or self._nothing_at == self.trials.moves:
            return False
        choice = self._choose(instructions)
        if choice is None:
            if wanted_new:
                instructions.append(do.Say("no untried configuration left: starting no new trial"))
            else:
                self._nothing_at = self.trials.moves
            return wanted_new  # paused trials may still be resumed
        if choice.number is not None:
            number, slot = self._pair([choice.number], free)
            self._start(slot, number, choice.reason, instructions)
            return False
        self._beginning[free[0]] = choice.reason
        instructions.append(do.BeginTrial(free[0], choice.params))
        return False

    def _begun(self, event: events.TrialBegun, instructions: list[Instruction]) -> None:
        reason = self._beginning.pop(event.slot)
        first = self.trials.add(ObservedTrial(event.number, event.params, (), "running"))
        if first != event.number:
            instructions.append(do.RefuseDuplicate(event.number, first))
        else:
            self._start(event.slot, event.number, reason, instructions)

    def _start(self, slot: int, number: int, reason: str, instructions: list[Instruction]) -> None:
        self.time.begun = True
        trial = self.trials[number]
        # A started trial continues, even if workers have less memory than before.
        fault = "" if trial.losses else self._fault(trial.params)
        if fault:
            # Nothing is learned from it: other configurations like it may fit.
            self.trials.put(number, "over")
            instructions.append(do.RefuseUnfit(number, fault))
            return
        had = len(trial.losses)
        self._jobs[slot] = RunningJob(number, self._goal(number), had)
        if self._slots[slot]:
            self._processors[number] = self._slots[slot]
        begins = f"after epoch {had}: continued" if had else "started"
        text = f"{begins}, {reason}" if reason else ""
        instructions.append(do.StartJob(slot, number, text))

    def _choose(self, instructions: list[Instruction]) -> NextTraining | None:
        """Return the next training of a free worker; None for nothing."""
        new, paused = self._wants_new, bool(self.rungs)
        choice = self._chooser.choose(list(self.trials), new=new, paused=paused)
        self._used_up = self._used_up or (new and choice is None)
        if self._chooser.memory is not None:
            instructions.append(do.NoteMemory(self._chooser.memory))
        return choice

    # Running jobs.

    def _answer(
        self, event: events.JobResumed | events.EpochEnded, instructions: list[Instruction]
    ) -> None:
        job = self._jobs[event.slot]
        verdict = Verdict.GO_ON
        if not event.last:
            if not self.rungs and event.prune:
                # Even while the search is ending: interrupted searches make the same decisions.
                self._pruned.add(job.number)
                instructions.append(do.NotePruned(job.number))
                verdict = Verdict.STOP
            elif (
                self.time.lacks(job.seconds)
                or self._is_ending
                or not self._passes(job, instructions)
            ):
                verdict = Verdict.PAUSE
        instructions.append(do.Answer(event.slot, verdict))

    def _passes(self, job: RunningJob, instructions: list[Instruction]) -> bool:
        """Whether a trial continues; at a rung only if it is the best next training."""
        trial = self.trials[job.number]
        epoch = len(trial.losses)
        if not self.rungs or epoch < job.goal:
            return True
        self.trials.put(job.number, "paused")
        choice = self._choose(instructions)
        rank, count = standing(list(self.trials), trial, epoch)
        # Other workers cannot resume it until its worker has released it.
        self.trials.put(job.number, "running")
        if choice is None or choice.number != job.number:
            text = f"after epoch {epoch}: paused, rank {rank} of {count} there"
            instructions.append(do.NoteDecision(job.number, text))
            return False
        text = f"after epoch {epoch}: continued, {choice.reason}"
        instructions.append(do.NoteDecision(job.number, text))
        job.goal = self._goal(job.number)
        return True

    def _look_ahead(self, instructions: list[Instruction]) -> None:
        """End the search if it is flat and should stop then."""
        ahead = self.outlook() if self.limits.stop_when_flat and not self.flat else None
        if ahead is not None and ahead.flat:
            self.flat = f"the search was flat ({ahead})"
            instructions.append(do.Say(f"{self.flat}: ending it"))

    # Ends of jobs.

    def _failed(self, event: events.JobFailed, instructions: list[Instruction]) -> None:
        number = self._jobs[event.slot].number
        mark: do.Mark
        ended = event.kind in ("died", "lost")
        # A lost machine does not count as a death: the training is not its cause.
        survives = event.kind == "lost" or (
            ended and not self._stopping and self._survives(event.slot, instructions)
        )
        if survives and not self._stopping:
            self._broken_off(event.slot, event.reason, instructions)
            return
        if number in self._pruned:
            instructions.append(self._finish(event.slot, "pruned"))
            return
        del self._jobs[event.slot]
        if event.kind == "environment":
            self._let_go(number)
            self.trouble = self.trouble or event.reason
            instructions.append(do.ReleaseSlot(event.slot, f"paused: {event.reason}"))
        elif ended and self._stopping:
            self._let_go(number)
            instructions.append(
                do.ReleaseSlot(event.slot, "stopped; its last complete epoch is saved")
            )
        elif event.kind in ("diverged", "memory", "pruned"):
            # The configuration is bad, and the sampler learns that from PRUNED. It ignores FAIL,
            # which is for faults that are not the configuration's.
            self._failures.gets_on()
            self.trials.unfit(number)
            mark = "memory" if event.kind == "memory" else "unfit"
            instructions.append(do.FinishTrial(number, "pruned", event.reason, event.slot, mark))
        else:
            if event.kind == "large":  # the next one may be smaller
                self._failures.gets_on()
            elif not self.trials[number].losses:
                self._failed_at_the_start(event, number)
            # The fault is not the configuration's: nothing is learned from it.
            self.trials.unlearn(number)
            mark = "own" if event.own_code else ""
            instructions.append(do.FinishTrial(number, "failed", event.reason, event.slot, mark))

    def _failed_at_the_start(self, event: events.JobFailed, number: int) -> None:
        """Stop a search in which every trial fails before its first epoch."""
        # A retry that fails in the user's code says nothing about other configurations.
        failed = self._failures.at_once(counts=not (event.own_code and event.retried))
        # Failures are quick: an earlier trial may still be in its first epoch.
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

    def _broken_off(self, slot: int, reason: str, instructions: list[Instruction]) -> None:
        """Handle a job that ended within an epoch: its trial is resumed first.

        A trial marked as pruned ends instead. A trial at a rung becomes a normal paused trial,
        because a state rebuilt from the store would not know the decision made there.
        """
        if self._jobs[slot].number in self._pruned:
            instructions.append(self._finish(slot, "pruned"))
            return
        number = self._jobs.pop(slot).number
        if len(self.trials[number].losses) in self.rungs[:-1]:
            self.trials.put(number, "paused")
        else:
            self._unfinished.appendleft(number)
        instructions.append(do.ReleaseSlot(slot, f"{reason}; resuming from its last epoch"))

    def _survives(self, slot: int, instructions: list[Instruction]) -> bool:
        """Whether a trial whose worker died is resumed."""
        job = self._jobs[slot]
        times = self._failures.death(job.number, job.epoch)
        instructions.append(do.NoteDeath(job.number, job.epoch, times))
        return times < PATIENCE

    def _finish(self, slot: int, state: do.Ended) -> do.FinishTrial:
        number = self._jobs.pop(slot).number
        self.trials.put(number, "over")
        return do.FinishTrial(number, state, slot=slot)

    def _goal(self, number: int) -> int:
        """Mark a trial as running; return the epoch at which it is judged."""
        trial = self.trials.put(number, "running")
        return next_rung(self.rungs, len(trial.losses)) if self.rungs else self.limits.epochs

    def _let_go(self, number: int) -> None:
        """Release a trial that a worker left before its end."""
        if len(self.trials[number].losses) in self.rungs[:-1]:
            self.trials.put(number, "paused")
        else:
            self._unfinished.append(number)
