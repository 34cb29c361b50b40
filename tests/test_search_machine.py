"""What the machine says of itself."""

from pathlib import Path

import pytest

from search.machine import bfloat16_pays


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
