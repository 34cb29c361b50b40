"""What this machine trains with: processor cores, GPUs, and how workers share them."""

import os
import shutil
import subprocess

from search.backends.local import Slot


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
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        found = subprocess.run(  # noqa: S603 - the driver's own tool, no argument of the user's
            [tool, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            check=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return []  # a driver that does not answer trains nothing
    return found.stdout.split()


def slots(workers: int) -> list[Slot]:
    """How workers share the machine.

    With GPUs, workers take turns at them; without, each has its share of the cores. Two workers
    of one thread each train about 1.2 times what one with two threads does.

    Args:
        workers: How many; 0 is one a GPU, or else one a core.
    """
    cards = gpus()
    count = workers or len(cards) or cores()
    threads = max(1, cores() // count)
    return [Slot(threads, cards[n % len(cards)] if cards else None) for n in range(count)]
