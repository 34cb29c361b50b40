"""Processor cores, memory and GPUs of this machine, and how workers share them."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from models.spec import PROCESS
from search.errors import TreinoError
from search.workers import cgroups
from search.workers.backends.local import Slot

AT_A_GPU = 4  # workers that share one, at the most: a small network alone leaves it idle
GPU_SHARE = 4 * 2**30  # bytes of it that each of them has at the least, CUDA's own included
_MIG = re.compile(r"UUID: (MIG-[^)]+)\)")  # a part of a GPU, in the driver's list


def cores() -> int:
    """Processor cores that this process may use: at least one, and never more than a quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, int(cgroups.cpu_limit() or count)))


def free_memory() -> int:
    """Bytes of memory that new processes may take, within the limits of a container."""
    available = int(psutil.virtual_memory().available)
    left = cgroups.memory_left()
    return available if left is None else min(available, left)


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Only the driver knows which there are. The variable may be left over from another machine.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = _ask_driver("--query-gpu=index,uuid", "--format=csv,noheader")
    indices = [card.split(",")[0] for card in cards]
    if chosen is None:
        return indices
    parts = [name for line in _ask_driver("--list-gpus") for name in _MIG.findall(line)]
    identifiers = [card.partition(",")[2].strip() for card in cards] + parts
    usable: list[str] = []
    for name in map(str.strip, chosen.split(",")):
        # CUDA takes an index, or the beginning of an identifier.
        meant = (
            [name] if name in indices else [i for i in identifiers if name and i.startswith(name)]
        )
        if len(meant) != 1 or meant[0] in usable:
            break  # as CUDA does: what comes after a name that is no GPU is not used either
        usable += meant
    return usable


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
        return free_memory() // len(slots)
    each = [_free_at(card) // workers for card, workers in shares.items()]
    return min(each) or None


def slots(workers: int, need: int = 0) -> list[Slot]:
    """How workers share the machine.

    With GPUs, workers take turns at them; without, each has its share of the cores. Two workers
    of one thread each train about 1.2 times what one with two threads does, and four that share a
    large GPU three times what one does (docs/decisions/0010-throughput.md).

    Args:
        workers: How many. 0 is one a core, as far as the memory holds ``need`` for each; with
            GPUs up to AT_A_GPU at each, as many as have GPU_SHARE of it and ``need``, and a core.
        need: Bytes that the largest network to be trained needs; 0 where that is not known: then
            each worker has a GPU to itself, or the memory of a process with TensorFlow.
    """
    cards = gpus()
    taken: Sequence[str | None]
    if workers:
        taken = [cards[n % len(cards)] if cards else None for n in range(workers)]
    elif cards:
        rooms = {card: _room_at(card, need, cores() // len(cards)) for card in cards}
        taken = [card for turn in range(AT_A_GPU) for card in cards if turn < rooms[card]]
    else:
        taken = [None] * max(1, min(cores(), free_memory() // max(need, PROCESS)))
    threads = max(1, cores() // len(taken))
    return [Slot(threads, card) for card in taken]


def few_workers(slots: Sequence[Slot], need: int) -> str:
    """Why there are fewer workers than cores, in a line; empty where there are not.

    Args:
        slots: The workers that ``slots(0, need)`` gave.
        need: Bytes that the largest network to be trained needs.
    """
    if any(slot.gpu is not None for slot in slots) or len(slots) >= cores():
        return ""
    return (
        f"memory limits the number of workers to {len(slots)} of up to {cores()}: "
        f"{free_memory() / 2**30:.1f} GiB are free, and the largest network needs about "
        f"{max(need, PROCESS) / 2**30:.1f} GiB"
    )


def check_room(slots: Sequence[Slot], smallest: int) -> None:
    """Refuse to start where no worker could train even the smallest network.

    Args:
        slots: The workers.
        smallest: Bytes that the smallest network to be trained needs; 0 where it is not known.

    Raises:
        TreinoError: Each would have too little memory.
    """
    each = memory(slots)
    if each is None or each >= smallest:
        return
    fitting = each * len(slots) // smallest
    advice = "free some memory, or use a smaller --image-size"
    if fitting and len(slots) > 1:
        advice = f"use --workers {fitting}"
    raise TreinoError(
        f"a worker has {each / 2**30:.1f} GiB of memory, and the smallest network of this search "
        f"needs about {smallest / 2**30:.1f} GiB: {advice}"
    )


def _room_at(card: str, need: int, most: int) -> int:
    """How many workers share a GPU, of at most so many."""
    if not need or card.startswith("MIG"):  # of a part of a GPU the driver does not say the size
        return 1
    return max(1, min(AT_A_GPU, most, _free_at(card) // max(GPU_SHARE, need)))


def _free_at(card: str) -> int:
    """Bytes of a GPU that nobody uses; 0 where it does not say."""
    query = ("--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id", card)
    sizes = _ask_driver(*query)
    mebibytes = sizes[0] if sizes else ""
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0


def _ask_driver(*arguments: str) -> list[str]:
    """What NVIDIA's driver says of its GPUs, line by line; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, *arguments], capture_output=True, check=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return []  # a driver that does not answer trains nothing
    return answer.stdout.splitlines()
