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
from search.console.text import plural
from search.errors import TreinoError
from search.workers import cgroups
from search.workers.backends.local import Slot

AT_A_GPU = 4  # most workers per GPU; a single small network leaves it idle
GPU_SHARE = 4 * 2**30  # least bytes of GPU memory per worker, including CUDA's own
_MIG = re.compile(r"UUID: (MIG-[^)]+)\)")  # a GPU partition in the driver's list


def cores() -> int:
    """Processor cores that this process may use, within quotas; at least one."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min(count, int(cgroups.cpu_limit() or count)))


def free_memory() -> int:
    """Bytes of memory that new processes may allocate, within container limits."""
    available = int(psutil.virtual_memory().available)
    left = cgroups.memory_left()
    return available if left is None else min(available, left)


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    The list comes from the driver: the variable may be left over from another machine.
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
        # CUDA accepts an index or a prefix of an identifier.
        meant = (
            [name] if name in indices else [i for i in identifiers if name and i.startswith(name)]
        )
        if len(meant) != 1 or meant[0] in usable:
            break  # as in CUDA: an invalid name also ends the list
        usable += meant
    return usable


def bfloat16_pays(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether networks train faster in bfloat16 than in float32 on this machine.

    True if the processor lists instructions for it, False if it lists only others. None if
    unknown: with a GPU, or not on Linux.
    """
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
    if "avx2" not in words or gpus():
        return None
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})


def memory(slots: Sequence[Slot]) -> int | None:
    """Bytes of currently free memory per worker: of its GPU, or else of the machine.

    None if a GPU does not report its memory.
    """
    shares = Counter(slot.gpu for slot in slots if slot.gpu is not None)
    if not shares:
        return free_memory() // len(slots)
    each = [_free_at(card) // workers for card, workers in shares.items()]
    return min(each) or None


def slots(
    workers: int, need: int = 0, *, jobs: int = 0, most_cores: int | None = None
) -> list[Slot]:
    """Divide the machine among workers.

    With GPUs, workers are spread over them; without, each gets a share of the cores. Two workers
    of one thread each have about 1.2 times the throughput of one with two threads, and four that
    share a large GPU have three times that of one (docs/decisions/0010-throughput.md).

    Args:
        workers: Number of workers. 0 is one per core, as far as memory has ``need`` for each;
            with GPUs, up to AT_A_GPU on each, if each has GPU_SHARE and ``need`` of its memory,
            and a core.
        need: Bytes that the largest network needs; 0 if unknown: then each worker has its own
            GPU, or the memory of a process with TensorFlow.
        jobs: Number of jobs there will be, and so the most workers; 0 if unknown.
        most_cores: Maximum number of cores to use; None for all.
    """
    if jobs:
        own = workers or len(slots(0, need, most_cores=most_cores))
        return slots(min(jobs, own), most_cores=most_cores)
    cards = gpus()
    count = min(cores(), most_cores or cores())
    taken: Sequence[str | None]
    if workers:
        taken = [cards[n % len(cards)] if cards else None for n in range(workers)]
    elif cards:
        rooms = {card: _room_at(card, need, count // len(cards)) for card in cards}
        taken = [card for turn in range(AT_A_GPU) for card in cards if turn < rooms[card]]
    else:
        taken = [None] * max(1, min(count, free_memory() // max(need, PROCESS)))
    threads = max(1, count // len(taken))
    return [Slot(threads, card) for card in taken]


def told(slots: Sequence[Slot]) -> str:
    """Workers and what each has, in a phrase."""
    gpus = {slot.gpu for slot in slots if slot.gpu is not None}
    on = plural(len(gpus), "GPU") if gpus else f"{plural(slots[0].threads, 'thread')} each"
    return f"{plural(len(slots), 'worker')}, {on}"


def few_workers(slots: Sequence[Slot], need: int) -> str:
    """One line on why there are fewer workers than cores; empty if there are not.

    Args:
        slots: The workers from ``slots(0, need)``.
        need: Bytes that the largest network needs.
    """
    if any(slot.gpu is not None for slot in slots) or len(slots) >= cores():
        return ""
    return (
        f"memory limits the number of workers to {len(slots)} of up to {cores()}: "
        f"{free_memory() / 2**30:.1f} GiB are free, and the largest network needs about "
        f"{max(need, PROCESS) / 2**30:.1f} GiB"
    )


def check_room(slots: Sequence[Slot], smallest: int) -> None:
    """Refuse to start if no worker can train even the smallest network.

    Args:
        slots: The workers.
        smallest: Bytes that the smallest network needs; 0 if unknown.

    Raises:
        TreinoError: Each worker would have too little memory.
    """
    each = memory(slots)
    if each is None or each >= smallest:
        return
    fitting = each * len(slots) // smallest
    advice = "free some memory, or use a smaller --image-size"
    if fitting and len(slots) > 1:
        advice = f"use --workers {fitting}"
    raise TreinoError(f"{_lack_of_room(each, 'smallest', smallest)}: {advice}")


def little_room(slots: Sequence[Slot], largest: int) -> str:
    """One line if a worker has no room for the largest network; else empty.

    Args:
        slots: The workers.
        largest: Bytes that the largest network needs; 0 if unknown.
    """
    each = memory(slots)
    return "" if each is None or each >= largest else _lack_of_room(each, "largest", largest)


def _lack_of_room(each: int, which: str, need: int) -> str:
    return (
        f"a worker has {each / 2**30:.1f} GiB of memory, and the {which} network of this search "
        f"needs about {need / 2**30:.1f} GiB"
    )


def _room_at(card: str, need: int, most: int) -> int:
    """Number of workers that share a GPU, up to ``most``."""
    if not need or card.startswith("MIG"):  # the driver does not report a partition's size
        return 1
    return max(1, min(AT_A_GPU, most, _free_at(card) // max(GPU_SHARE, need)))


def _free_at(card: str) -> int:
    """Free bytes of a GPU; 0 if it does not report them."""
    query = ("--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id", card)
    sizes = _ask_driver(*query)
    mebibytes = sizes[0] if sizes else ""
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0


def _ask_driver(*arguments: str) -> list[str]:
    """Output lines of NVIDIA's driver tool; empty if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, *arguments], capture_output=True, check=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return []  # without an answer from the driver, no GPU is used
    return answer.stdout.splitlines()
