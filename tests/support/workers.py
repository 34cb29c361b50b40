"""Jobs for real worker processes, and what the processes say."""

import time
from collections.abc import Callable
from pathlib import Path

from data.dataset import Dataset
from models.spec import Block, Dense, ModelSpec, TrainingSpec
from search.protocol import End, EpochDone, Job, Message, Verdict
from search.workers.backends.base import Backend
from search.workers.backends.local import LocalBackend

NETWORK = ModelSpec(
    blocks=(Block(filters=2, batch_norm=False),), dense=Dense(units=4, batch_norm=False)
)


def job(data: Dataset, folder: Path, run: str, epochs: int = 3) -> Job:
    training = TrainingSpec(batch_size=4, epochs=epochs)
    checkpoint = folder / run / "checkpoint.npz"
    return Job(run, NETWORK, training, data.path, seed=1, checkpoint=checkpoint)


def go_on(slot: int, message: Message) -> Verdict | None:
    return Verdict.GO_ON


def watch(
    backend: Backend,
    slots: tuple[int, ...] = (0,),
    answer: Callable[[int, Message], Verdict | None] = go_on,
) -> list[Message]:
    """What the slots say until each has ended; ``answer`` may decide, or do damage instead."""
    heard: list[Message] = []
    busy = set(slots)
    deadline = time.monotonic() + 120
    while busy:
        assert time.monotonic() < deadline, heard
        for slot, message in backend.wait(1.0):
            assert slot in busy
            heard.append(message)
            if isinstance(message, End):
                busy.remove(slot)
            elif (verdict := answer(slot, message)) is not None:
                backend.answer(slot, verdict)
    return heard


def pid(backend: LocalBackend) -> int:
    number = backend._workers[0].process.pid
    assert number is not None
    return number


def epochs(messages: list[Message]) -> list[int]:
    return [message.figures.epoch for message in messages if isinstance(message, EpochDone)]
