"""What the machine says of itself."""

from pathlib import Path

import pytest

from search.machine import lacks_bfloat16


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [
        ("flags : sse2 avx avx2 fma", True),
        ("flags : sse2 avx avx2 avx512f avx512_bf16", False),
        ("flags : sse2 avx avx2 avx512f amx_bf16", False),
        ("Features : fp asimd bf16", False),
    ],
)
def test_a_processor_without_bfloat16_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, lacks: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\n{flags}\n", encoding="utf-8")
    assert lacks_bfloat16(file) is lacks


def test_a_machine_that_does_not_say_is_trusted(tmp_path: Path) -> None:
    assert not lacks_bfloat16(tmp_path / "none")


def test_a_gpu_needs_no_instructions_of_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    file = tmp_path / "cpuinfo"
    file.write_text("flags : avx2\n", encoding="utf-8")
    assert not lacks_bfloat16(file)
