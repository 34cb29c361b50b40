"""The tuner: the one process that owns the study.

It asks Optuna for configurations, gives them to workers, has every epoch written down, and ends
the trials. What to do next, and what an epoch means, scheduler.py decides.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from data.dataset import Dataset
from models.history import EpochFigures, best_epoch
from models.spec import SpecError, count_parameters, estimate_memory
from search import scheduler
from search.backends.base import Backend
from search.interruption import Interruption
from search.jobs import Done, End, EpochDone, Job, Message, Paused, Resumed, Stopped, Verdict
from search.progress import Display, Overall, plural
from search.provenance import document
from search.space import Space
from search.trials import (
    DUPLICATE,
    PRUNED,
    REASON,
    LiveTrial,
    TrialBook,
    best_so_far,
    counts,
    states,
)
from search.watchdog import Watchdog
from storage.files import Layout, write_atomically
from storage.tables import Records

TURN = 0.2  # seconds the loop waits for messages at the most: how soon it sees Ctrl-C
DUPLICATES = 100  # configurations in a row that were all trained before: the space is used up


@dataclass(frozen=True)
class Plan:
    """What a search is to do.

    Attributes:
        trials: Trials the study is to have in all.
        seed: The study's seed.
        sampler: Name of the sampler.
        pruner: Name of the pruner, for the reasons.
        timeout: Seconds after which nothing new is trained; None for no limit.
        monitor: The figure judged by, to be minimised.
        keep: How many finished trials keep their checkpoint: the best ones.
        max_parameters: Networks with more weights are not trained; None for no limit.
        memory: Bytes that one worker may use; networks estimated to need more are not trained.
    """

    trials: int
    seed: int
    sampler: str = "tpe"
    pruner: str = "median"
    timeout: float | None = None
    monitor: str = "val_loss"
    keep: int = 5
    max_parameters: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        states: How many trials of the study are complete, pruned, fail (Optuna's words) and
            paused, duplicates left out.
        epochs: Epochs trained by this process.
        images: Images those epochs trained on.
        seconds: Wall time.
        trouble: Why the search had to stop, empty if it did not have to.
    """

    states: Mapping[str, int]
    epochs: int
    images: int
    seconds: float
    trouble: str = ""


class Tuner:
    """Runs a search. Made for one call of ``run``."""

    def __init__(
        self,
        *,
        study: optuna.Study,
        space: Space,
        data: Dataset,
        backend: Backend,
        records: Records,
        layout: Layout,
        plan: Plan,
        display: Display,
        interruption: Interruption,
        every_turn: Callable[[], None] = lambda: None,
        watchdog: Watchdog | None = None,
    ) -> None:
        """Prepare a search; ``every_turn`` is called each turn of the loop: the lease's renewal."""
        self._watchdog = watchdog or Watchdog()
        self._study = study
        # Configurations are drawn before their trials exist; a handle on a trial draws nothing.
        self._study.sampler = RandomSampler(seed=plan.seed)
        self._space = space
        self._data = data
        self._backend = backend
        self._plan = plan
        self._display = display
        self._interruption = interruption
        self._every_turn = every_turn
        self._book = TrialBook(study, records, layout, monitor=plan.monitor, keep=plan.keep)
        self._running: dict[int, LiveTrial] = {}
        self._unfinished: deque[int] = deque()
        self._trained: dict[frozenset[tuple[str, Any]], int] = {}
        self._started = 0
        self._used_up = False
        self._trouble = ""
        self._epochs = 0
        self._epoch_seconds = 0.0
        self._begun = time.monotonic()

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
            for slot, reason in self._watchdog.hung(time.monotonic()).items():
                self._watchdog.ended(slot)
                self._backend.kill(slot, reason)
            self._fill()
            self._every_turn()
            self._display.overall(self._overall())
        return Outcome(
            states=states(self._study),
            epochs=self._epochs,
            images=self._epochs * len(self._data.train.labels),
            seconds=time.monotonic() - self._begun,
            trouble=self._trouble,
        )

    @property
    def _closing(self) -> bool:
        timeout = self._plan.timeout
        late = timeout is not None and time.monotonic() - self._begun >= timeout
        return late or self._interruption.asked or bool(self._trouble)

    def _adopt(self) -> None:
        """Take over what an earlier tuner left in the study."""
        for trial in filter(counts, self._study.get_trials(deepcopy=False)):
            self._started += 1
            self._trained[frozenset(trial.params.items())] = trial.number
            if trial.state is not TrialState.RUNNING:
                continue
            if PRUNED in trial.user_attrs:  # decided, but the tuner died before it could tell
                live = self._live(self._unfinished_trial(trial.number))
                self._book.recall(live)
                self._book.end(live, TrialState.PRUNED, trial.user_attrs[PRUNED])
            else:
                self._unfinished.append(trial.number)
        if self._unfinished and not self._closing:
            self._display.say(f"taking up {plural(len(self._unfinished), 'unfinished trial')}")

    def _fill(self) -> None:
        """Give every free slot its next job."""
        for slot in range(self._backend.slots):
            while slot not in self._running:
                standing = scheduler.Standing(
                    started=self._started,
                    total=self._started if self._used_up else self._plan.trials,
                    unfinished=self._unfinished,
                    running=len(self._running),
                    closing=self._closing,
                )
                move = scheduler.next_move(standing)
                if isinstance(move, scheduler.Resume):
                    self._unfinished.remove(move.number)
                    self._start(slot, self._unfinished_trial(move.number))
                elif move == "begin":
                    trial = self._new_trial()
                    if trial is not None:
                        self._start(slot, trial)
                else:
                    return

    def _new_trial(self) -> optuna.Trial | None:
        """A trial of a configuration that was never trained; None if there is none left.

        It is drawn whole and enqueued before it is begun: each is one write, and whatever comes
        between them, the next tuner finds the same configuration.
        """
        while True:
            trials = self._study.get_trials(deepcopy=False)
            if all(trial.state is not TrialState.WAITING for trial in trials):
                params = self._unseen(len(trials))
                if params is None:
                    return None
                self._study.enqueue_trial(params)
            trial = self._study.ask()
            params = self._space.suggest(trial)
            before = self._trained.setdefault(frozenset(params.items()), trial.number)
            if before == trial.number:
                self._started += 1
                return trial
            trial.set_user_attr(DUPLICATE, before)  # enqueued by somebody else
            self._study.tell(trial, state=TrialState.FAIL)

    def _unseen(self, number: int) -> dict[str, Any] | None:
        """A configuration for trial ``number`` that was never trained; None if there is none."""
        plan, distributions = self._plan, self._space.distributions()
        sampler = scheduler.make_sampler(plan.sampler, plan.seed, number)
        for _ in range(DUPLICATES):
            params = scheduler.propose(self._study, sampler, distributions, number)
            if frozenset(params.items()) not in self._trained:
                return params
        self._used_up = True
        self._display.say(
            f"{DUPLICATES} configurations in a row had been trained before: "
            "the space is used up, no new trial is started"
        )
        return None

    def _unfinished_trial(self, number: int) -> optuna.Trial:
        """A live handle on an unfinished trial of the study."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        return optuna.Trial(self._study, frozen._trial_id)  # noqa: SLF001 - Optuna has no other way

    def _live(self, trial: optuna.Trial) -> LiveTrial:
        """What a trial of the study stands for.

        Raises:
            SpecError: A network that the images, or the machine, have no room for.
        """
        model, training = self._space.specs(self._space.suggest(trial))
        shape, classes = self._data.input_shape, len(self._data.classes)
        parameters = count_parameters(model, shape, classes)
        if parameters > (self._plan.max_parameters or parameters):
            raise SpecError(f"{parameters:,} parameters, more than {self._plan.max_parameters:,}")
        memory = estimate_memory(model, shape, classes, training.batch_size)
        if memory > (self._plan.memory or memory):
            raise SpecError(
                f"needs about {memory / 2**30:.1f} GiB, and a worker has "
                f"{(self._plan.memory or 0) / 2**30:.1f} GiB"
            )
        seed = scheduler.trial_seed(self._plan.seed, trial.number)
        live = LiveTrial(trial, model, training, seed, parameters)
        write_atomically(self._book.paths(live).spec, document(model, training, seed, self._data))
        return live

    def _start(self, slot: int, trial: optuna.Trial) -> None:
        try:
            live = self._live(trial)
        except SpecError as error:
            # PRUNED, not FAIL: the sampler is to learn that such networks are no good.
            trial.set_user_attr(REASON, str(error))
            self._study.tell(trial, state=TrialState.PRUNED)
            self._display.say(f"trial {trial.number}: not trained: {error}")
            return
        self._running[slot] = live
        self._watchdog.started(slot, time.monotonic())
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
            ),
        )

    def _handle(self, slot: int, message: Message) -> None:
        live = self._running[slot]
        if isinstance(message, Resumed):
            self._watchdog.heard(slot, time.monotonic(), _longest(message.history))
            for figures in message.history:
                self._book.note(live, figures)
            if message.history:
                self._display.job_at(slot, message.history[-1])
            self._answer(slot, live, last=message.last)
        elif isinstance(message, EpochDone):
            self._watchdog.heard(slot, time.monotonic(), message.figures.seconds)
            self._epochs += 1
            self._epoch_seconds += message.figures.seconds
            self._book.note(live, message.figures)
            self._display.job_at(slot, message.figures)
            self._answer(slot, live, last=message.last)
        else:
            self._watchdog.ended(slot)
            line = self._end(live, message)
            del self._running[slot]
            self._display.job_ended(slot, f"trial {live.number}: {line}")

    def _answer(self, slot: int, live: LiveTrial, *, last: bool) -> None:
        verdict = scheduler.verdict(live.trial, last=last, closing=self._closing)
        if verdict is Verdict.STOP:
            self._book.decide_pruned(live, self._plan.pruner)
        self._backend.answer(slot, verdict)

    def _end(self, live: LiveTrial, message: End) -> str:
        """Put down how a job ended; returns it in a few words."""
        if isinstance(message, Paused):
            self._unfinished.append(live.number)
            return f"paused after epoch {len(live.history)}"
        if isinstance(message, Done):
            self._book.end(live, TrialState.COMPLETE)
            best = best_epoch(live.history)
            assert best is not None  # a training without a finite val_loss ends as Failed
            return (
                f"complete: val_loss {best.val_loss:.4f}  val_accuracy {best.val_accuracy:.4f}"
                f"  at epoch {best.epoch} of {len(live.history)}"
            )
        if isinstance(message, Stopped):
            reason = str(self._book.frozen(live).user_attrs[PRUNED])
            self._book.end(live, TrialState.PRUNED, reason)
            return reason
        if message.kind == "surroundings":
            self._unfinished.append(live.number)
            self._trouble = self._trouble or message.reason
            return f"paused: {message.reason}"
        if message.kind == "died" and self._interruption.asked:
            self._unfinished.append(live.number)
            return "stopped; its last whole epoch is safe"
        if message.kind == "died" and self._book.count_death(live) < scheduler.PATIENCE:
            self._unfinished.appendleft(live.number)
            return f"{message.reason}; going on from its last epoch"
        # A network that diverges or does not fit is a bad one, and the sampler learns that from
        # PRUNED; FAIL, which it ignores, is for what was not the configuration's doing.
        bad = message.kind in ("diverged", "memory")
        self._book.end(live, TrialState.PRUNED if bad else TrialState.FAIL, message.reason)
        return f"{'pruned' if bad else 'failed'}: {message.reason}"

    def _overall(self) -> Overall:
        done = self._started - len(self._running) - len(self._unfinished)
        return Overall(
            done=done,
            total=max(self._plan.trials, self._started),
            best=best_so_far(self._study),
            seconds_left=self._seconds_left(done),
        )

    def _seconds_left(self, done: int) -> float | None:
        """Trials left, at the epochs a trial took so far, at the seconds an epoch took so far."""
        if not self._epochs:
            return None
        epochs = self._epochs / done if done else self._space.epochs
        seconds = self._epoch_seconds / self._epochs
        left = (self._plan.trials - done) * epochs * seconds / self._backend.slots
        if self._plan.timeout is not None:
            left = min(left, self._plan.timeout - (time.monotonic() - self._begun))
        return max(left, 0.0)


def _longest(history: Sequence[EpochFigures]) -> float:
    """Seconds of the longest epoch, 0 if there was none."""
    return max((figures.seconds for figures in history), default=0.0)
