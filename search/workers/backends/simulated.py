"""Simulated workers that replay given curves, for tests of the tuner.

Replays have a simulation of their own, without jobs (``search.replay.simulation``).
"""

from collections import deque
from collections.abc import Callable, Sequence

from models.history import EpochFigures
from search.protocol import (
    Done,
    End,
    EpochDone,
    Failed,
    Job,
    Message,
    Paused,
    Resumed,
    Stopped,
    Verdict,
)
from search.workers.backends.base import Backend

Curve = Callable[[Job], Sequence[EpochFigures | Failed]]
"""The results of a job's epochs, in order. A Failed ends the training at that epoch."""

Latency = Callable[[Job], float]
"""The time in ms that a job's network takes for one image."""


class SimulatedBackend(Backend):
    """A Backend without processes: slots take turns, one epoch each.

    Checkpoints are remembered by run for as long as the backend lives.
    """

    def __init__(
        self,
        slots: int,
        curve: Curve,
        processors: Sequence[str] = (),
        latency: Latency = lambda _job: 0.0,
    ) -> None:
        """Replay ``curve`` on ``slots`` slots, whose types of processor are ``processors``.

        ``latency`` is measured where a job asks for it.
        """
        self._slots = list(range(slots))
        self._processors = processors
        self._curve = curve
        self._latency = latency
        self._jobs: dict[int, Job] = {}
        self._epochs: dict[str, int] = {}  # epochs in each run's checkpoint
        self._outbox: deque[tuple[int, Message]] = deque()

    @property
    def slots(self) -> Sequence[int]:
        """Numbers of the slots, in ascending order."""
        return self._slots

    def processor(self, slot: int) -> str:
        """Type of the slot's processor, as it was given."""
        return self._processors[slot] if self._processors else ""

    def start(self, slot: int, job: Job) -> None:
        """Start a job in a free slot."""
        self._jobs[slot] = job
        history = self._history(job)
        latency = self._latency(job) if job.size == "latency" else 0.0
        self._outbox.append((slot, Resumed(history, self._is_over(job), latency=latency)))

    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """Return the next message at once."""
        if not self._outbox:
            return []
        slot, message = self._outbox.popleft()
        if isinstance(message, End):
            del self._jobs[slot]
        return [(slot, message)]

    def answer(self, slot: int, verdict: Verdict) -> None:
        """Train the slot's next epoch, or end its job."""
        job = self._jobs[slot]
        if self._has_ended(slot):
            return
        if self._is_over(job):
            self._outbox.append((slot, Done()))
        elif verdict is Verdict.PAUSE:
            self._outbox.append((slot, Paused()))
        elif verdict is Verdict.STOP:
            self._outbox.append((slot, Stopped()))
        else:
            self._train(slot, job)

    def kill(self, slot: int, reason: str) -> None:
        """Kill the slot's job."""
        if not self._has_ended(slot):
            self._outbox.append((slot, Failed("died", reason)))

    def close(self) -> None:
        """Drop all running jobs."""
        self._jobs.clear()
        self._outbox.clear()

    def _has_ended(self, slot: int) -> bool:
        return any(own == slot and isinstance(message, End) for own, message in self._outbox)

    def _train(self, slot: int, job: Job) -> None:
        done = self._epochs.get(job.run, 0)
        step = self._curve(job)[done]
        if isinstance(step, Failed):
            self._outbox.append((slot, step))
            return
        self._epochs[job.run] = done + 1
        self._outbox.append((slot, EpochDone(step, last=self._is_over(job))))

    def _history(self, job: Job) -> tuple[EpochFigures, ...]:
        done = self._curve(job)[: self._epochs.get(job.run, 0)]
        return tuple(step for step in done if isinstance(step, EpochFigures))

    def _is_over(self, job: Job) -> bool:
        return self._epochs.get(job.run, 0) >= min(job.training.epochs, len(self._curve(job)))
