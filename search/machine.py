"""What this machine trains with: processor cores, GPUs, and how workers share them."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from search.backends.local import Slot

AT_A_GPU = 4  # workers that share one, at the most: a small network alone leaves it idle
GPU_SHARE = 4 * 2**30  # bytes of it that each of them should have


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    return _ask_driver("index")


def bfloat16_pays(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether networks train quicker here in bfloat16 than in float32.

    That is so where the processor lists instructions for it, and not where it lists others only.
    None where nothing can be said: with a GPU, and off Linux.
    """
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    if "avx2" not in words or gpus():
        return None
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})


def memory(slots: Sequence[Slot]) -> int | None:
    """Bytes that each worker may use: of its GPU, or else of what memory is free now.

    None where a GPU does not say how much it has.
    """
    cards = [slot.gpu for slot in slots if slot.gpu is not None]
    if not cards:
        return int(psutil.virtual_memory().available / len(slots))
    whole = _memory_of(cards[0])
    share = max(1, -(-len(slots) // len(set(cards))))  # workers that take turns at one
    return None if whole is None else whole // share


def slots(workers: int) -> list[Slot]:
    """How workers share the machine.

    With GPUs, workers take turns at them; without, each has its share of the cores. Two workers
    of one thread each train about 1.2 times what one with two threads does, and four that share a
    large GPU three times what one does (docs/decisions/0010-throughput.md).

    Args:
        workers: How many; 0 is up to AT_A_GPU a GPU, or else one a core.
    """
    cards = gpus()
    count = workers or sum(_room_at(card, cores() // len(cards)) for card in cards) or cores()
    threads = max(1, cores() // count)
    return [Slot(threads, cards[n % len(cards)] if cards else None) for n in range(count)]


def _room_at(card: str, most: int) -> int:
    """How many workers share a GPU, of at most so many; one where it does not say what it has."""
    return max(1, min(AT_A_GPU, most, (_memory_of(card) or 0) // GPU_SHARE))


def _memory_of(card: str) -> int | None:
    """Bytes that a GPU has; None where it does not say."""
    sizes = _ask_driver("memory.total", "--id", card)
    mebibytes = sizes[0] if sizes else ""
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else None


def _ask_driver(what: str, *arguments: str) -> list[str]:
    """What NVIDIA's driver says of its GPUs, one word each; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        found = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, f"--query-gpu={what}", "--format=csv,noheader,nounits", *arguments],
            capture_output=True,
            check=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return []  # a driver that does not answer trains nothing
    return found.stdout.split()
