"""The tuner: the one process that owns the study.

It asks Optuna for configurations, gives them to workers, has every epoch written down, and ends
the trials. What to do next, and what an epoch means, scheduler.py decides.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from data.dataset import Dataset
from models.history import EpochFigures, best_epoch
from models.spec import (
    ModelSpec,
    OwnSpec,
    SpecError,
    TrainingSpec,
    count_parameters,
    estimate_memory,
)
from search import scheduler
from search.jobs import Done, End, EpochDone, Job, Message, Paused, Resumed, Stopped, Verdict
from search.lineup import Lineup
from search.observers import Observer
from search.outlook import Outlook, outlook
from search.plan import Outcome, Plan
from search.progress import Overall, plural
from search.promotion import Choice
from search.provenance import document
from search.session import Session
from search.space import Space
from search.trials import (
    PRUNED,
    RETRY_OF,
    LiveTrial,
    TrialBook,
    counted,
    never_trained,
    sample_of_pruned,
    seed_number,
    seen,
    states,
)
from search.watchdog import Watchdog
from storage.files import write_atomically

HOPELESS = 5  # trials that fail before their first epoch while no other gets there
TURN = 0.2  # seconds the loop waits for messages at the most: how soon it sees Ctrl-C


class Tuner:
    """Runs a search. Made for one call of ``run``."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        data: Dataset,
        plan: Plan,
        session: Session,
        *,
        observers: Sequence[Observer] = (),
        reported: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Prepare a search.

        ``reported`` are number and epoch of what the study's trials have had so far, in order of
        time.
        """
        layout = session.place.layout
        self._watchdog = Watchdog()
        self._clock = self._watchdog.clock
        self._study = study
        # Configurations are drawn before their trials exist; a handle on a trial draws nothing.
        self._study.sampler = RandomSampler(seed=scheduler.training_seed(plan.seed))
        self._space = space
        self._data = data
        self._plan = plan
        self._backend = session.backend
        self._display = session.display
        self._interruption = session.interruption
        self._renew_lease = session.renew
        self._observers = observers
        records = session.place.records
        self._book = TrialBook(study, records, layout, monitor=plan.monitor, keep=plan.keep)
        pausing = plan.pruner == "promote"
        self._lineup = Lineup(
            scheduler.make_chooser(
                plan.sampler,
                space.distributions(),
                space.epochs,
                plan.seed,
                study=None if pausing else study,
                memory=self._book.memory,
                prior=plan.prior,
            ),
            space.epochs,
            pausing=pausing,
            most_trials=plan.trials,
        )
        self._reported = reported
        self._running: dict[int, LiveTrial] = {}
        self._trouble = ""
        self._flat = ""
        self._started = False  # a trial was given to a worker, or refused
        self._late = False  # a trial was paused because its next epoch would have ended too late
        self._failed_at_once = 0
        self._logs = layout.logs(study.study_name)
        self._epochs = 0
        self._epoch_seconds = 0.0
        self._begun = self._clock()

    def run(self) -> Outcome:
        """Search until the plan is fulfilled, time is up or the user interrupts."""
        self._adopt()
        self._fill()
        killed = False
        while self._running:
            for slot, message in self._backend.wait(TURN):
                self._handle(slot, message)
            if self._interruption.now and not killed:
                killed = True
                for slot in self._running:
                    self._backend.kill(slot, "stopped by the user")
            for slot, reason in self._watchdog.hung().items():
                self._watchdog.ended(slot)
                self._backend.kill(slot, reason)
            self._fill()
            self._renew_lease()
            self._display.overall(self._overall())
        if not self._trouble and (self._is_over or not self._closing):
            self._leave_paused()
        self._book.tidy(self._to_audit())
        seconds = self._clock() - self._begun
        trials = self._study.get_trials(deepcopy=False)
        return Outcome(
            states=states(self._study),
            epochs=self._epochs,
            images=self._epochs * len(self._data.train.labels),
            seconds=seconds,
            training=self._epoch_seconds / (seconds * self._backend.slots),
            outlook=self._outlook(),
            flat=self._flat,
            trouble=self._trouble,
            trained=any(trial.intermediate_values for trial in trials),
            retriable=0 if self._is_over else len(self._retriable(counted(trials))),
        )

    @property
    def _closing(self) -> bool:
        """Whether no trial is to be begun or taken up any more."""
        an_epoch = self._epoch_seconds / max(self._epochs, 1)
        # However little time there is, one trial gets one epoch: short runs, too, get on.
        late = self._started and (self._late or self._time_left <= an_epoch)
        return late or self._is_ending

    @property
    def _is_ending(self) -> bool:
        """Whether the search ends for another reason than the time."""
        return self._interruption.asked or bool(self._trouble) or self._is_over

    def _has_to_pause(self, live: LiveTrial) -> bool:
        """Whether a trial is not to have a further epoch now: it would take as long as its last.

        The first epoch of a run is begun in any case, or one of many short runs might never get on.
        """
        expected = live.history[-1].seconds if live.history else 0.0
        late = self._epochs > 0 and self._time_left <= expected
        self._late = self._late or late
        return late or self._is_ending

    @property
    def _time_left(self) -> float:
        """Seconds until the search is to pause; those in which it is suspended do not count."""
        if self._plan.timeout is None:
            return math.inf
        return self._plan.timeout - (self._clock() - self._begun)

    @property
    def _is_over(self) -> bool:
        """Whether the study has its budget of epochs, or has come to a stop."""
        budget = self._plan.budget
        return bool(self._flat) or (budget is not None and self._lineup.spent >= budget)

    def _outlook(self) -> Outlook | None:
        """What another hour is likely to bring."""
        if not self._epochs:
            return None
        epochs = round(3600 * self._backend.slots * self._epochs / self._epoch_seconds)
        return outlook(self._lineup.lowest, epochs, self._lineup.epochs)

    def _to_audit(self) -> list[int]:
        """Pruned trials that are to be trained to their end when the search is over."""
        trials = self._study.get_trials(deepcopy=False) if self._plan.audit else []
        return [
            trial.number for trial in sample_of_pruned(trials, self._plan.audit, self._plan.seed)
        ]

    def _adopt(self) -> None:
        """Take over what an earlier tuner left in the study."""
        trials = self._book.adopt()
        for trial in trials:
            self._lineup.add(seen(trial, self._lineup.rungs))
            if trial.state is not TrialState.RUNNING:
                continue
            if PRUNED in trial.user_attrs:  # decided, but the tuner died before it could tell
                live = self._live(self._book.handle(trial.number))
                self._book.recall(live)
                self._end_trial(live, TrialState.PRUNED, trial.user_attrs[PRUNED])
            elif self._lineup[trial.number].state == "running":
                self._lineup.unfinished.append(trial.number)
        if self._lineup.unfinished and not self._closing:
            many = plural(len(self._lineup.unfinished), "unfinished trial")
            self._display.say(f"taking up {many}")
        self._lineup.recall(self._reported)
        if not self._closing:
            self._retry(trials)

    def _retry(self, trials: Sequence[FrozenTrial]) -> None:
        """Enqueue again what could not be trained, since whatever was in the way may be gone."""
        again = 0
        for trial in self._retriable(trials):
            if self._lineup.may_replace:
                self._book.retry(trial)
                self._lineup.forget(trial.number)
                again += 1
        if again:
            self._display.say(f"trying again {plural(again, 'trial')} that never trained")

    def _retriable(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the study's trials that were never trained and could be."""
        return [t for t in never_trained(trials, self._plan.memory) if self._fits(t)]

    def _fits(self, trial: FrozenTrial) -> bool:
        """Whether a trial's configuration is one of the space, and there is room for it."""
        if not self._space.contains(trial.params):
            return False
        try:
            self._check_room(*self._space.specs(trial.params))
        except SpecError:
            return False
        return True

    def _fill(self) -> None:
        """Give every free slot its next job."""
        for slot in range(self._backend.slots):
            while slot not in self._running:
                standing = scheduler.Standing(
                    unfinished=self._lineup.unfinished,
                    choosing=self._lineup.wants_new or bool(self._lineup.rungs),
                    running=len(self._running),
                    closing=self._closing,
                )
                move = scheduler.next_move(standing)
                if isinstance(move, scheduler.Resume):
                    self._lineup.unfinished.remove(move.number)
                    self._start(slot, self._book.handle(move.number))
                elif move != "choose":
                    return
                elif not self._start_chosen(slot):
                    break

    def _start_chosen(self, slot: int) -> bool:
        """Start what is best to be trained next; whether there was anything."""
        if self._lineup.wants_new and self._book.waiting:
            self._start_enqueued(slot)
            return True
        wanted_new = self._lineup.wants_new
        choice = self._choose()
        if choice is None:
            if wanted_new:
                self._display.say(
                    "every further configuration had been trained before: "
                    "the space is used up, no new trial is started"
                )
            return wanted_new  # paused trials may yet go on
        if choice.number is not None:
            self._start(slot, self._book.handle(choice.number), choice.reason)
            return True
        trial = self._book.begin(choice.params, self._space.distributions())
        self._start(slot, trial, choice.reason)
        return True

    def _choose(self) -> Choice | None:
        """What is best to be trained next; what the chooser learned for it is written down."""
        choice = self._lineup.choose()
        self._book.memory = self._lineup.memory
        return choice

    def _start_enqueued(self, slot: int) -> None:
        """Begin a trial that was enqueued before the search, if its configuration is new."""
        trial = self._book.take_waiting()
        self._space.suggest(trial)
        first = self._lineup.add(seen(self._book.frozen(trial)))
        if first == trial.number:
            self._start(slot, trial)
        else:
            self._book.refuse_duplicate(trial, first)

    def _leave_paused(self) -> None:
        """End the trials that were not taken up again: the search is over."""
        ended = self._flat or f"the budget of {self._plan.budget} epochs was used up"
        reasons = {}
        for left in self._lineup.seen:
            if left.state == "paused":
                reasons[left.number] = self._lineup.left(left.number)
            elif left.state == "running":
                reasons[left.number] = ended
        for number, reason in reasons.items():
            live = self._live(self._book.handle(number))
            self._book.recall(live)
            self._end_trial(live, TrialState.PRUNED, reason)

    def _end_trial(self, live: LiveTrial, state: TrialState, reason: str = "") -> None:
        self._book.end(live, state, reason)
        for observer in self._observers:
            observer.trial_ended(self._study)
        if state is TrialState.FAIL:
            self._lineup.failed(live.number)
        else:
            self._lineup.over(live.number)

    def _live(self, trial: optuna.Trial) -> LiveTrial:
        """What a trial of the study stands for.

        Raises:
            SpecError: A network that the images, or the machine, have no room for.
        """
        params = self._space.suggest(trial)
        model, training = self._space.specs(params)
        # What was begun goes on, though workers may have less memory than they had then.
        if not self._lineup.epochs_had(trial.number):
            self._check_room(model, training)
        parameters = count_parameters(model, self._data.input_shape, len(self._data.classes))
        seed = scheduler.trial_seed(self._plan.seed, seed_number(trial))
        live = LiveTrial(trial, params, model, training, seed, parameters)
        write_atomically(self._book.paths(live).spec, document(model, training, seed, self._data))
        return live

    def _check_room(self, model: ModelSpec | OwnSpec, training: TrainingSpec) -> None:
        """Raise SpecError if a network is larger than it may be, or than the images have room for.

        What is not known before a network is built is checked there.
        """
        shape, classes = self._data.input_shape, len(self._data.classes)
        parameters = count_parameters(model, shape, classes)
        need = estimate_memory(model, shape, classes, training.batch_size)
        if parameters > (self._plan.max_parameters or parameters):
            raise SpecError(f"{parameters:,} parameters, more than {self._plan.max_parameters:,}")
        if need > (self._plan.memory or need):
            raise SpecError(
                f"needs about {need / 2**30:.1f} GiB, and a worker has "
                f"{(self._plan.memory or 0) / 2**30:.1f} GiB"
            )

    def _start(self, slot: int, trial: optuna.Trial, reason: str = "") -> None:
        self._started = True
        try:
            live = self._live(trial)
        except SpecError as error:
            self._lineup.began(trial.number, self._space.suggest(trial))
            self._lineup.unfit(trial.number)
            self._lineup.over(trial.number)
            self._book.refuse_unfit(trial, str(error))
            self._display.say(f"trial {trial.number}: not trained: {error}")
            self._renew_lease()  # there may be many of them before the next turn
            return
        live.goal = self._lineup.began(live.number, live.params)
        if reason:
            before = len(self._lineup[live.number].losses)
            self._book.decided(live, f"after epoch {before}: trained on, {reason}")
        self._running[slot] = live
        self._watchdog.started(slot)
        self._display.job_started(slot, f"trial {trial.number}", live.training.epochs)
        self._backend.start(
            slot,
            Job(
                run=live.run,
                model=live.model,
                training=live.training,
                data=self._data.path,
                seed=live.seed,
                checkpoint=self._book.paths(live).checkpoint,
                monitor=self._plan.monitor,
                save=self._book.paths(live).model,
                max_parameters=self._plan.max_parameters,
            ),
        )

    def _handle(self, slot: int, message: Message) -> None:
        live = self._running[slot]
        if isinstance(message, Resumed):
            live.parameters = message.parameters or live.parameters
            if message.own:
                spec = document(live.model, live.training, live.seed, self._data, message.own)
                write_atomically(self._book.paths(live).spec, spec)
            self._watchdog.resumed(slot, longest(message.history))
            for figures in message.history:
                self._note(live, figures)
            if message.history:
                self._display.job_at(slot, message.history[-1])
            self._answer(slot, live, last=message.last)
        elif isinstance(message, EpochDone):
            seconds = self._watchdog.epoch_ended(slot, message.figures.seconds)
            figures = replace(message.figures, seconds=seconds)
            self._failed_at_once = 0
            self._epochs += 1
            self._epoch_seconds += seconds
            self._note(live, figures)
            self._look_ahead()
            self._display.job_at(slot, figures)
            self._answer(slot, live, last=message.last)
        else:
            self._watchdog.ended(slot)
            line = self._end(live, message)
            del self._running[slot]
            self._display.job_ended(slot, f"trial {live.number}: {line}")

    def _note(self, live: LiveTrial, figures: EpochFigures) -> None:
        self._book.note(live, figures)
        self._lineup.epoch(live.number, figures.epoch, self._book.judged(figures))

    def _look_ahead(self) -> None:
        """End the search if it has come to a stop and is to end then."""
        ahead = self._outlook() if self._plan.stop_when_flat and not self._flat else None
        if ahead is not None and ahead.flat:
            self._flat = f"the search was flat ({ahead})"
            self._display.say(f"{self._flat}: it ends here")

    def _answer(self, slot: int, live: LiveTrial, *, last: bool) -> None:
        if self._lineup.rungs:
            verdict = self._at_rung(live, last=last)
        else:
            closing = self._has_to_pause(live)
            verdict = scheduler.verdict(live.trial, last=last, closing=closing)
        if verdict is Verdict.STOP:
            self._book.decide_pruned(live, self._plan.pruner)
        self._backend.answer(slot, verdict)

    def _at_rung(self, live: LiveTrial, *, last: bool) -> Verdict:
        if last:
            return Verdict.GO_ON
        if self._has_to_pause(live):
            return Verdict.PAUSE
        if len(live.history) < live.goal:
            return Verdict.GO_ON
        goes_on, decision = self._lineup.at_rung(live.number)
        self._book.memory = self._lineup.memory
        self._book.decided(live, decision)
        if not goes_on:
            return Verdict.PAUSE
        live.goal = self._lineup.began(live.number, live.params)
        return Verdict.GO_ON

    def _end(self, live: LiveTrial, message: End) -> str:
        """Put down how a job ended; returns it in a few words."""
        if isinstance(message, Paused):
            self._lineup.let_go(live.number)
            self._book.paths(live).remove_checkpoint(but_the_newest=True)
            return f"paused after epoch {len(live.history)}"
        if isinstance(message, Done):
            self._end_trial(live, TrialState.COMPLETE)
            best = best_epoch(live.history)
            assert best is not None  # a training without a finite val_loss ends as Failed
            return (
                f"complete: val_loss {best.val_loss:.4f}  val_accuracy {best.val_accuracy:.4f}"
                f"  at epoch {best.epoch} of {len(live.history)}"
            )
        if isinstance(message, Stopped):
            reason = str(live.trial.user_attrs[PRUNED])
            self._end_trial(live, TrialState.PRUNED, reason)
            return reason
        if message.kind == "surroundings":
            self._lineup.let_go(live.number)
            self._trouble = self._trouble or message.reason
            return f"paused: {message.reason}"
        if message.kind == "died" and self._interruption.asked:
            self._lineup.let_go(live.number)
            return "stopped; its last whole epoch is safe"
        if message.kind == "died" and self._book.count_death(live) < scheduler.PATIENCE:
            self._lineup.unfinished.appendleft(live.number)
            return f"{message.reason}; going on from its last epoch"
        # A network that diverges or does not fit is a bad one, and the sampler learns that from
        # PRUNED; FAIL, which it ignores, is for what was not the configuration's doing.
        bad = message.kind in ("diverged", "memory")
        own = isinstance(live.model, OwnSpec) and message.kind == "error"
        if own:
            self._book.own_fault(live)
        if bad:
            self._book.unfit(live, self._plan.memory if message.kind == "memory" else None)
            self._lineup.unfit(live.number)
            self._failed_at_once = 0
        elif self._is_untold(live):
            # A configuration that the user's code fails with again says nothing about the others.
            self._failed_at_once += not (own and RETRY_OF in live.trial.user_attrs)
            # Failures are quick: one begun earlier may still be in its first epoch, and do well.
            waiting = any(
                other.number < live.number and self._is_untold(other)
                for other in self._running.values()
            )
            if self._failed_at_once >= HOPELESS and not waiting:
                failed = f"{self._failed_at_once} trials in a row failed before their first epoch"
                self._trouble = self._trouble or (
                    f"{failed}, the last one: {message.reason}; see {self._logs}"
                )
        self._end_trial(live, TrialState.PRUNED if bad else TrialState.FAIL, message.reason)
        return f"{'pruned' if bad else 'failed'}: {message.reason}"

    def _is_untold(self, live: LiveTrial) -> bool:
        """Whether nothing is known of a trial yet."""
        return not self._lineup[live.number].losses

    def _overall(self) -> Overall:
        lineup, plan = self._lineup, self._plan
        best = (
            ""
            if lineup.best is None
            else f"best: {lineup.best.best:.4f}, trial {lineup.best.number}"
        )
        ahead = self._outlook()
        later = "" if ahead is None else f"{ahead.now:.4f} to about {ahead.then:.4f}"
        if plan.trials is None and plan.budget is not None:
            return Overall(lineup.spent, plan.budget, "epochs", best, self._seconds_left(), later)
        done = len(lineup) - len(self._running) - len(lineup.unfinished)
        what = f"trials, {lineup.paused} paused" if lineup.paused else "trials"
        total = max(plan.trials or 0, len(lineup))
        return Overall(done, total, what, best, self._seconds_left(), later)

    def _seconds_left(self) -> float | None:
        """Epochs left, at the seconds an epoch took so far."""
        if not self._epochs:
            return None
        left = self._lineup.epochs_left(self._plan.budget)
        seconds = left * self._epoch_seconds / self._epochs / self._backend.slots
        seconds = min(seconds, self._time_left)
        return max(seconds, 0.0) if math.isfinite(seconds) else None


def longest(history: Sequence[EpochFigures]) -> float:
    """Seconds of the longest epoch, 0 if there was none."""
    return max((figures.seconds for figures in history), default=0.0)
