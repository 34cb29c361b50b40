"""What the machine says of itself."""

from pathlib import Path

import pytest

from search import machine
from search.machine import bfloat16_pays, memory, slots
from search.space import Documents


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
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    file = tmp_path / "cpuinfo"
    file.write_text("flags : avx2\n", encoding="utf-8")
    assert bfloat16_pays(file) is None


def with_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, sizes: str, cores: int = 16) -> None:
    """A driver whose GPUs have such sizes, in MiB; a word each."""
    tool = folder / "nvidia-smi"
    tool.write_text(
        f"""#!/bin/sh
set -- "$1" "${{4:-none}}" {sizes}
case "$1,$2" in
*index,none) shift 2; n=0; for size; do echo $n; n=$((n + 1)); done ;;
*memory.free,*) shift $((2 + $2)); echo "$1" ;;
esac
"""
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
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
    assert [slot.gpu for slot in slots(0)] == [None] * 16


def test_what_one_worker_would_train_several_train_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus(tmp_path, monkeypatch, "24576")
    for side in (32, 64, 96):
        largest = Documents(epochs=20, image_side=side).largest((side, side, 3), 10)
        assert (memory(slots(0, largest)) or 0) >= largest
