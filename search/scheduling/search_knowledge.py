"""What a search knows of its trials while it runs; part of the search's state."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search.scheduling.chooser import Chooser
from search.scheduling.failures import Failures
from search.scheduling.limits import Limits, Stored, epochs_left
from search.scheduling.stopping import Outlook, outlook
from search.scheduling.time_budget import TimeBudget
from search.scheduling.trial_table import TrialTable
from search.spaces.unit_cube import Params


@dataclass
class RunningJob:
    """A running trial.

    Attributes:
        number: Its number.
        goal: The epoch at which it is judged.
        epoch: The last epoch its worker has told of. After the loss of a checkpoint it is lower
            than the number of losses known.
        seconds: Duration of its last epoch.
    """

    number: int
    goal: int
    epoch: int
    seconds: float = 0.0


class SearchKnowledge:
    """What the decisions of a search are based on.

    Attributes:
        limits: Limits of the search.
        trials: The trials that count.
        rungs: Epochs after which trials pause; empty if they do not.
        trouble: Why the search has to stop; empty if it need not.
        hopeless: Whether it stops because every trial fails.
        flat: Why the search ends early as flat; empty if it does not.
        time: Its time limit and the durations of its epochs.

    Args:
        chooser: Chooses between new and paused trials.
        limits: Limits of the search.
        stored: The stored trials of the study.
        slots: Type of the processor of each slot, by number; empty on the tuner's machine.
        fault: Why a configuration cannot be trained here; empty if it can.
    """

    def __init__(
        self,
        chooser: Chooser,
        limits: Limits,
        stored: Stored,
        slots: Mapping[int, str],
        fault: Callable[[Params], str] = lambda _params: "",
    ) -> None:
        self.limits = limits
        self.rungs = limits.rungs
        self.trials = TrialTable(self.rungs)
        self.trouble = self.flat = ""
        self.hopeless = False
        self.time = TimeBudget(limits.timeout)
        self._chooser = chooser
        self._fault = fault
        self._slots = dict(sorted(slots.items()))
        self._processors = dict(stored.processors)
        self._jobs: dict[int, RunningJob] = {}
        self._beginning: dict[int, str] = {}  # slots whose trial is starting, with the decision
        self._enqueued = stored.enqueued
        self._pruned = set(stored.pruned)  # prune decisions that are not carried out yet
        self._failures = Failures(stored.deaths)
        self._unfinished: deque[int] = deque()  # interrupted between rungs
        self._used_up = False  # no untried configuration is left
        self._stopping = False
        self._nothing_at = -1  # moves of the trials when there was nothing to choose
        self._duplicates: list[tuple[int, int]] = []  # number of a trial, and of the first like it
        for trial in stored.trials:
            first = self.trials.add(trial)
            if first != trial.number:  # a tuner died before it refused an enqueued trial
                if trial.state != "over":
                    self._duplicates.append((trial.number, first))
            elif trial.number in stored.pruned:
                self.trials.put(trial.number, "over")
            elif trial.state == "running":
                self._unfinished.append(trial.number)
        for number, epoch in stored.reported:
            self.trials.recall(number, epoch)

    # Queries.

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return len(self._jobs)

    @property
    def unfinished(self) -> int:
        """Number of interrupted trials that have to be resumed."""
        return len(self._unfinished)

    @property
    def paused(self) -> int:
        """Number of paused trials."""
        return sum(trial.state == "paused" for trial in self.trials)

    @property
    def is_over(self) -> bool:
        """Whether the epoch budget is used up, or the search is flat."""
        budget = self.limits.budget
        return bool(self.flat) or (budget is not None and self.trials.spent >= budget)

    @property
    def is_closing(self) -> bool:
        """Whether no more trials start or resume."""
        return self.time.is_up or self._is_ending

    @property
    def awaits_slot(self) -> bool:
        """Whether there is something to train, as far as is known, and no slot for it."""
        paused = self.rungs and self.paused and self._nothing_at != self.trials.moves
        waiting = self._unfinished or self._wants_new or paused
        return not self._slots and not self.is_closing and bool(waiting)

    @property
    def may_audit(self) -> bool:
        """Whether an audit of pruned trials may run after the search."""
        return not (self.trouble or self._stopping) and self.time.left > 0

    @property
    def may_retry(self) -> bool:
        """Whether a trial that never trained may be retried."""
        most = self.limits.trials
        return not self.is_closing and (most is None or len(self.trials) <= most)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the search ends; None if unknown."""
        left = epochs_left(self.trials, self.limits, used_up=self._used_up)
        return self.time.estimate(left, len(self._slots))

    @property
    def memory(self) -> Mapping[str, Any]:
        """What the chooser has learned; empty if it learns nothing."""
        return self._chooser.memory or {}

    def outlook(self) -> Outlook | None:
        """The outlook for another hour; None if there is no estimate."""
        if not self.limits.by_loss:
            return None
        epochs = self.time.epochs_an_hour(len(self._slots))
        return outlook(self.trials.lowest, epochs, self.limits.epochs)

    @property
    def _is_ending(self) -> bool:
        """Whether the search is ending for a reason other than time."""
        return self._stopping or bool(self.trouble) or self.is_over

    @property
    def _wants_new(self) -> bool:
        most = self.limits.trials
        return not self._used_up and (most is None or len(self.trials) < most)
