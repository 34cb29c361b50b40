"""Limits that a container or a batch system sets on this process: Linux control groups, v1 and v2.

Docker, Kubernetes, Slurm and systemd limit processors and memory this way. The operating system
still reports the whole machine, so a program that ignores these limits plans for too much.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNLIMITED = 2**60  # bytes; without a limit, v1 has a larger number than any memory


@dataclass(frozen=True)
class _Hierarchy:
    """A mounted hierarchy and this process's groups in it.

    Attributes:
        version: 1 or 2.
        folders: The process's group and all visible parent groups.
    """

    version: int
    folders: tuple[Path, ...]


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Processors that this process may use on average; None if unlimited.

    Args:
        root: Folder that contains ``proc``; its mount points are relative to it.
    """
    limits = []
    for hierarchy in _hierarchies(root, "cpu"):
        for folder in hierarchy.folders:
            if hierarchy.version == 2:
                quota, _, period = _text(folder / "cpu.max").partition(" ")
            else:
                quota = _text(folder / "cpu.cfs_quota_us")
                period = _text(folder / "cpu.cfs_period_us")
            if quota.isdecimal() and period.isdecimal() and int(period):  # else "max" or "-1"
                limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that this process's group may still allocate; None if unlimited.

    File cache counts as free, because the kernel can reclaim it.

    Args:
        root: Folder that contains ``proc``; its mount points are relative to it.
    """
    left = []
    for hierarchy in _hierarchies(root, "memory"):
        v2 = hierarchy.version == 2
        for folder in hierarchy.folders:
            names = ("memory.max", "memory.high") if v2 else ("memory.limit_in_bytes",)
            sizes = [int(text) for name in names if (text := _text(folder / name)).isdecimal()]
            used = _text(folder / ("memory.current" if v2 else "memory.usage_in_bytes"))
            if min(sizes, default=UNLIMITED) < UNLIMITED and used.isdecimal():
                cached = _cached(folder, "" if v2 else "total_")
                left.append(max(0, min(sizes) - max(0, int(used) - cached)))
    return min(left, default=None)


def _cached(folder: Path, prefix: str) -> int:
    """Bytes of a group's file cache."""
    pairs = (line.split() for line in _text(folder / "memory.stat").splitlines())
    stat = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
    return sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))


def _hierarchies(root: Path, controller: str) -> Iterator[_Hierarchy]:
    """The hierarchies that may limit ``controller``."""
    groups = {}  # by controller; "" is version 2
    for line in _text(root / "proc/self/cgroup").splitlines():
        controllers, _, place = line.partition(":")[2].partition(":")
        groups.update(dict.fromkeys(controllers.split(","), place))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kinds) < 3:
            continue
        own = ""
        if kinds[0] == "cgroup" and controller in kinds[2].split(","):
            own = groups.get(controller, "")
        elif kinds[0] == "cgroup2":
            own = groups.get("", "")
        if own:
            top = root / _unescaped(fields[4]).lstrip("/")
            version = 2 if kinds[0] == "cgroup2" else 1
            yield _Hierarchy(version, _folders(top, _unescaped(fields[3]), own))


def _folders(top: Path, mounted: str, own: str) -> tuple[Path, ...]:
    """The folder of the group ``own`` and its parents up to the mount point ``top``.

    ``mounted`` is the group mounted there. In a container it may be the process's own group.
    """
    try:
        below = PurePosixPath(own).relative_to(mounted)
    except ValueError:  # the group is outside the mount: its own folder is not visible
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    folder = top / below
    return tuple(each for each in (folder, *folder.parents) if each.is_relative_to(top))


def _unescaped(text: str) -> str:
    """Decode a path of mountinfo, which has spaces and similar characters in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _text(path: Path) -> str:
    """The content of a file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
