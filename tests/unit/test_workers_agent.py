"""How an agent divides what Ray gives it of its node."""

from pathlib import Path

import pytest

from search.errors import TreinoError
from search.workers import hardware
from search.workers.backends.agent import divide
from search.workers.backends.exchange import Request
from search.workers.hardware import little_room
from tests.support.gpus import driver

GIB = 2**30


def request(workers: int = 0, largest: float = 1.0, smallest: float = 0.0) -> Request:
    return Request(
        "a study",
        "fingerprint",
        0,
        workers=workers,
        smallest=int(smallest * GIB),
        largest=int(largest * GIB),
    )


@pytest.mark.parametrize(
    ("given", "cpus", "workers", "gpus"),
    [
        ("0,1", 16, 0, "01010101"),  # up to four workers per GPU
        ("0,1", 4, 0, "0101"),  # and one per core that the agent holds
        ("1", 16, 0, "1111"),  # a node that was started with one of two GPUs
        ("0,1", 16, 3, "010"),
    ],
)
def test_an_agent_divides_its_gpus_as_a_single_machine_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    cpus: int,
    workers: int,
    gpus: str,
) -> None:
    monkeypatch.setenv("PATH", str(driver(tmp_path, "143771 143771")))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)  # as Ray sets it for an actor
    monkeypatch.setattr(hardware, "cores", lambda: 32)
    slots = divide(request(workers), cpus)
    assert [slot.gpu for slot in slots] == list(gpus)
    assert {slot.threads for slot in slots} == {cpus // len(gpus)}


def test_an_agent_has_as_many_workers_at_a_gpu_as_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(driver(tmp_path, "24576")))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(hardware, "cores", lambda: 16)
    slots = divide(request(largest=7.0), 16)
    assert [slot.gpu for slot in slots] == ["0"] * 3
    assert little_room(slots, 7 * GIB) == ""
    told = little_room(divide(request(workers=4, largest=7.0), 16), 7 * GIB)
    assert told == (
        "a worker has 6.0 GiB of memory, and the largest network of this search needs about 7.0 GiB"
    )
    with pytest.raises(TreinoError, match="the smallest network of this search"):
        divide(request(workers=4, largest=9.0, smallest=8.0), 16)
