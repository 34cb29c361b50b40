"""What the machine says of itself."""

from pathlib import Path

import pytest

from search.errors import TreinoError
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.workers import cgroups
from search.workers import hardware as machine
from search.workers.hardware import bfloat16_pays, check_room, few_workers, gpus, memory, slots
from tests.support.gpus import driver


@pytest.mark.parametrize(
    ("flags", "pays"),
    [
        ("flags : sse2 avx avx2 fma", False),
        ("flags : sse2 avx avx2 avx512f avx512_bf16", True),
        ("flags : sse2 avx avx2 avx512f amx_bf16", True),
        ("Features : fp asimd bf16", None),
    ],
)
def test_a_processor_with_bfloat16_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, pays: bool | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\n{flags}\n", encoding="utf-8")
    assert bfloat16_pays(file) is pays


def test_of_a_machine_that_does_not_say_nothing_is_said(tmp_path: Path) -> None:
    assert bfloat16_pays(tmp_path / "none") is None


def test_a_gpu_needs_no_instructions_of_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(tmp_path, monkeypatch, "24576")
    file = tmp_path / "cpuinfo"
    file.write_text("flags : avx2\n", encoding="utf-8")
    assert bfloat16_pays(file) is None


def with_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, sizes: str, cores: int = 16) -> None:
    """A machine whose driver reports GPUs of such sizes, in MiB; a word each."""
    monkeypatch.setenv("PATH", str(driver(folder, sizes)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: cores)


@pytest.mark.parametrize(
    ("sizes", "cores", "need", "cards"),
    [
        ("143771", 16, 1.0, "0000"),
        ("11264", 16, 1.0, "00"),
        ("24576", 16, 7.0, "000"),
        ("24576", 16, 70.0, "0"),  # nobody has that room: as before
        ("24576", 16, 0.0, "0"),  # nobody knows what they need
        ("2048", 16, 1.0, "0"),
        ("143771", 2, 1.0, "00"),
        ("24576 24576", 16, 1.0, "01010101"),
        ("81920 4096", 16, 1.0, "01000"),
        ("[N/A]", 16, 1.0, "0"),
    ],
)
def test_networks_share_a_gpu_that_has_room_for_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: str,
    cores: int,
    need: float,
    cards: str,
) -> None:
    with_gpus(tmp_path, monkeypatch, sizes, cores)
    found = slots(0, int(need * 2**30))
    assert [slot.gpu for slot in found] == list(cards)
    assert {slot.threads for slot in found} == {cores // len(cards)}
    if sizes == "[N/A]":
        assert memory(found) is None
    else:
        assert memory(found) == min(
            int(size) * 2**20 // cards.count(str(card)) for card, size in enumerate(sizes.split())
        )


def test_a_part_of_a_gpu_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(tmp_path, monkeypatch, "81920")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-41b3")
    assert [slot.gpu for slot in slots(0, 1)] == ["MIG-41b3"]


def test_who_asks_for_a_number_of_workers_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(tmp_path, monkeypatch, "24576 24576")
    assert [slot.gpu for slot in slots(5)] == list("01010")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [slot.gpu for slot in slots(3)] == [None] * 3


@pytest.mark.parametrize(
    ("chosen", "cards"),
    [
        (None, ["0", "1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("0,1,2,3", ["0", "1"]),
        ("0,-1,1", ["0"]),
        ("1,1", ["1"]),
        ("GPU-8a11", ["GPU-8a11"]),
        ("GPU-8a1", []),  # more than one begins so
        ("GPU-77", []),
        ("MIG-41b3,MIG-5", ["MIG-41b3"]),
    ],
)
def test_only_gpus_that_the_driver_knows_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, cards: list[str]
) -> None:
    with_gpus(tmp_path, monkeypatch, "24576 24576")
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus() == cards
    if cards == ["GPU-8a11"]:
        assert memory(slots(1)) == 24576 * 2**20


@pytest.mark.parametrize("chosen", ["0", "0,1,2,3", "NoDevFiles", "GPU-1"])
def test_without_a_driver_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus() == []


def with_memory(monkeypatch: pytest.MonkeyPatch, gibibytes: float, cores: int = 16) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory", lambda: int(gibibytes * 2**30))


@pytest.mark.parametrize(
    ("free", "need", "workers"),
    [(8, 2.2, 3), (64, 2.2, 16), (2, 2.2, 1), (0.1, 2.2, 1), (8, 0.0, 10), (8, 0.1, 10)],
)
def test_there_are_as_many_workers_as_the_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, free: float, need: float, workers: int
) -> None:
    with_memory(monkeypatch, free)
    found = slots(0, int(need * 2**30))
    assert len(found) == workers
    assert {slot.threads for slot in found} == {16 // workers}
    said = few_workers(found, int(need * 2**30))
    assert (f"{workers} of up to 16" in said) is (workers < 16)
    assert len(slots(7, int(need * 2**30))) == 7  # who asks for a number has it


@pytest.mark.parametrize(
    ("workers", "free", "smallest", "advice"),
    [
        (4, 4, 0.8, None),
        (8, 4, 0.8, "use --workers 5"),
        (8, 0.5, 0.8, "free some memory"),
        (1, 0.5, 0.8, "free some memory"),
        (8, 0.5, 0.0, None),
    ],
)
def test_workers_without_room_for_any_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, workers: int, free: float, smallest: float, advice: str | None
) -> None:
    with_memory(monkeypatch, free)
    if advice is None:
        check_room(slots(workers), int(smallest * 2**30))
    else:
        with pytest.raises(TreinoError, match=advice):
            check_room(slots(workers), int(smallest * 2**30))


def test_a_container_may_leave_less_memory_than_the_machine_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgroups, "memory_left", lambda: 5)
    monkeypatch.setattr(cgroups, "cpu_limit", lambda: 1.9)
    assert machine.free_memory() == 5
    assert machine.cores() == 1
    monkeypatch.setattr(cgroups, "cpu_limit", lambda: 0.2)
    assert machine.cores() == 1


def test_what_one_worker_would_train_several_train_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(tmp_path, monkeypatch, "24576")
    for side in (32, 64, 96):
        _, largest = Documents(TrainingDefaults(epochs=20), side).memory_needs((side, side, 3), 10)
        assert (memory(slots(0, largest)) or 0) >= largest
