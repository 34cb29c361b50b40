"""Limits of containers, read from made-up and from real control groups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.workers.cgroups import cpu_limit, memory_left

GIB = 2**30


def machine(root: Path, groups: str, mounts: list[str]) -> Path:
    """A made-up ``/proc``; a mount is "kind group point options"."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    lines = []
    for mount in mounts:
        kind, group, point, options = mount.split(" ")
        lines.append(f"30 25 0:26 {group} {point} rw,nosuid shared:9 - {kind} {kind} {options}")
    (proc / "mountinfo").write_text("".join(f"{line}\n" for line in lines))
    return root


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_without_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path) is None
    assert memory_left(tmp_path) is None


def test_version_2_is_read_from_the_group_up(tmp_path: Path) -> None:
    machine(tmp_path, "0::/user/app\n", ["cgroup2 / /sys/fs/cgroup rw"])
    top = tmp_path / "sys/fs/cgroup"
    group(
        top / "user", cpu_max="150000 100000", memory_max=str(4 * GIB), memory_current=str(3 * GIB)
    )
    group(top / "user/app", cpu_max="max 100000", memory_max="max", memory_current=str(GIB))
    assert cpu_limit(tmp_path) == 1.5
    assert memory_left(tmp_path) == GIB
    group(top / "user/app", cpu_max="50000 100000", memory_high=str(GIB + 5))
    assert cpu_limit(tmp_path) == 0.5
    assert memory_left(tmp_path) == 5


def test_memory_that_only_caches_files_is_free(tmp_path: Path) -> None:
    machine(tmp_path, "0::/\n", ["cgroup2 / /sys/fs/cgroup rw"])
    top = tmp_path / "sys/fs/cgroup"
    stat = f"anon 5\ninactive_file {GIB}\nactive_file {GIB}"
    group(top, memory_max=str(4 * GIB), memory_current=str(4 * GIB), memory_stat=stat)
    assert memory_left(tmp_path) == 2 * GIB


def test_version_1_has_a_hierarchy_for_each_kind(tmp_path: Path) -> None:
    machine(
        tmp_path,
        "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n0::/\n",
        # In a container without a namespace of groups, its own group is what is mounted.
        [
            "cgroup /docker/1f /sys/fs/cgroup/cpu,cpuacct rw,cpu,cpuacct",
            "cgroup /docker/1f /sys/fs/cgroup/memory rw,memory",
            "cgroup2 / /sys/fs/cgroup/unified rw",
        ],
    )
    top = tmp_path / "sys/fs/cgroup"
    group(top / "cpu,cpuacct", cpu_cfs_quota_us="200000", cpu_cfs_period_us="100000")
    used = {"memory_usage_in_bytes": str(GIB), "memory_stat": f"total_inactive_file {GIB // 2}"}
    group(top / "memory", memory_limit_in_bytes=str(2 * GIB), **used)
    assert cpu_limit(tmp_path) == 2
    assert memory_left(tmp_path) == GIB + GIB // 2
    group(top / "memory", memory_limit_in_bytes=str(2**63 - 4096))
    assert memory_left(tmp_path) is None


def test_a_group_that_cannot_be_seen_is_looked_for_at_the_mount_point(tmp_path: Path) -> None:
    machine(tmp_path, "0::/../other\n", ["cgroup2 / /sys/fs/a\\040b rw"])
    group(tmp_path / "sys/fs/a b", cpu_max="300000 100000")
    assert cpu_limit(tmp_path) == 3


@given(st.text(max_size=60), st.text(max_size=120), st.text(max_size=30))
def test_whatever_the_files_say_there_is_an_answer(
    tmp_path_factory: pytest.TempPathFactory, groups: str, mounts: str, text: str
) -> None:
    root = tmp_path_factory.mktemp("proc")
    machine(root, "0::/\n", ["cgroup2 / /sys/fs/cgroup rw"])
    with (root / "proc/self/cgroup").open("a", encoding="utf-8") as file:
        file.write(groups)
    with (root / "proc/self/mountinfo").open("a", encoding="utf-8") as file:
        file.write(mounts)
    files = ("cpu.max", "memory.max", "memory.current", "memory.stat")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name in files:
        (root / "sys/fs/cgroup" / name).write_text(text, encoding="utf-8")
    assert (cpu_limit(root) or 0) >= 0
    assert (memory_left(root) or 0) >= 0


def test_the_quota_of_a_real_group_is_seen(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a control group")
    v1 = Path("/sys/fs/cgroup/cpu")
    folder = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"treino-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            if v1.is_dir():
                (folder / "cpu.cfs_quota_us").write_text("100000")
            else:
                (folder / "cpu.max").write_text("100000 100000")
        except OSError as error:
            pytest.skip(f"no processor quota can be set here: {error}")
        code = (
            "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); "
            "from search.workers.hardware import cores; print(cores())"
        )
        command = [sys.executable, "-c", code, str(folder / "cgroup.procs")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        folder.rmdir()
    assert done.stdout.strip() == "1"
