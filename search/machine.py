"""What this machine trains with: processor cores, GPUs, and how workers share them."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from search.backends.local import Slot

AT_A_GPU = 4  # workers that share one, at the most: a small network alone leaves it idle
GPU_SHARE = 4 * 2**30  # bytes of it that each of them has at the least, CUDA's own included


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
    """Bytes that each worker may use, of what is free now: of its GPU, or else of the memory.

    None where a GPU does not say what it has.
    """
    shares = Counter(slot.gpu for slot in slots if slot.gpu is not None)
    if not shares:
        return int(psutil.virtual_memory().available / len(slots))
    each = [_free_at(card) // workers for card, workers in shares.items()]
    return min(each) or None


def slots(workers: int, need: int = 0) -> list[Slot]:
    """How workers share the machine.

    With GPUs, workers take turns at them; without, each has its share of the cores. Two workers
    of one thread each train about 1.2 times what one with two threads does, and four that share a
    large GPU three times what one does (docs/decisions/0010-throughput.md).

    Args:
        workers: How many. 0 is one a core; with GPUs up to AT_A_GPU at each, as many as have
            GPU_SHARE of it and what they need, and a core.
        need: Bytes that the largest network to be trained needs; 0 where that is not known, and
            each worker then has a GPU to itself.
    """
    cards = gpus()
    taken: Sequence[str | None]
    if workers:
        taken = [cards[n % len(cards)] if cards else None for n in range(workers)]
    elif cards:
        rooms = {card: _room_at(card, need, cores() // len(cards)) for card in cards}
        taken = [card for turn in range(AT_A_GPU) for card in cards if turn < rooms[card]]
    else:
        taken = [None] * cores()
    threads = max(1, cores() // len(taken))
    return [Slot(threads, card) for card in taken]


def _room_at(card: str, need: int, most: int) -> int:
    """How many workers share a GPU, of at most so many."""
    if not need or card.startswith("MIG"):  # of a part of a GPU the driver does not say the size
        return 1
    return max(1, min(AT_A_GPU, most, _free_at(card) // max(GPU_SHARE, need)))


def _free_at(card: str) -> int:
    """Bytes of a GPU that nobody uses; 0 where it does not say."""
    sizes = _ask_driver("memory.free", "--id", card)
    mebibytes = sizes[0] if sizes else ""
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0


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
