"""A search on a cluster under faults ends as one on a single machine that nothing disturbs."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.clusters import Cluster, Node, Search, curves, on_one_machine, repeated
from tests.support.pictures import image_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "images", each=20)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, images: Path) -> list[object]:
    """The curves of the search on a single machine, with one thread for each worker."""
    return on_one_machine(tmp_path_factory.mktemp("single"), images)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
    finally:
        cluster.close()


def busy(cluster: Cluster) -> Node:
    return next(
        node for node in cluster.nodes if psutil.pid_exists(node.record.pid) and node.workers
    )


def kill_workers(cluster: Cluster) -> None:
    busy(cluster).workers[0].kill()


def kill_agents(cluster: Cluster) -> None:
    busy(cluster).agents[0].kill()


def kill_raylet(cluster: Cluster) -> None:
    busy(cluster).raylet.kill()


def kill_node(cluster: Cluster) -> None:
    busy(cluster).kill()
    cluster.join()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("strike", [kill_workers, kill_agents, kill_raylet, kill_node])
def test_a_fault_of_a_node_repeats_at_most_one_epoch(
    cluster: Cluster, images: Path, undisturbed: list[object], strike: Callable[[Cluster], None]
) -> None:
    cluster.join()
    search = Search(cluster, images)
    search.until("epoch 2/")
    strike(cluster)
    said = search.end()
    assert any("resuming from its last epoch" in line for line in said)
    assert curves(cluster.head.folder) == undisturbed
    assert repeated(cluster) <= 1


@pytest.mark.timeout(1500)
def test_a_killed_tuner_is_replaced_by_the_same_command(
    cluster: Cluster, images: Path, undisturbed: list[object]
) -> None:
    node = cluster.join()
    search = Search(cluster, images)
    search.until("epoch 2/")
    agents = node.agents
    search.kill()
    psutil.wait_procs(agents, timeout=60)
    Search(cluster, images).end()
    assert curves(cluster.head.folder) == undisturbed
    assert repeated(cluster) <= 1


@pytest.mark.timeout(1500)
def test_a_killed_head_ends_the_search_with_one_line_and_the_same_commands_continue(
    cluster: Cluster, images: Path, undisturbed: list[object]
) -> None:
    cluster.join()
    search = Search(cluster, images)
    search.until("epoch 2/")
    cluster.head.kill()
    said = search.end(code=1)
    told = [line for line in said if line.startswith("treino: the head of cluster")]
    assert told == said[-1:], "".join(said)
    cluster.restart_head()
    Search(cluster, images).end()  # once the node has joined again by itself
    assert curves(cluster.head.folder) == undisturbed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.timeout(1500)
def test_a_node_whose_disk_gets_full_is_left_out_and_another_one_goes_on(
    cluster: Cluster, images: Path, undisturbed: list[object], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "tmpfs", disk], check=True)
    try:
        cluster.join(XDG_CACHE_HOME=str(disk))
        search = Search(cluster, images)
        search.until("epoch 2/")
        fill(disk)
        search.until("is left out")
        cluster.join()
        said = search.end()
        assert any("No space left" in line for line in said)
        assert curves(cluster.head.folder) == undisturbed
    finally:
        cluster.close()
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "others").open("wb") as file:
        file.writelines(bytes(2**20) for _ in range(2**11))


@pytest.mark.timeout(1500)
def test_two_searches_share_no_node_and_the_second_waits(
    cluster: Cluster, images: Path, undisturbed: list[object]
) -> None:
    cluster.join()
    first = Search(cluster, images, "--study", "long", "--epochs", "1000")
    first.until("started")
    second = Search(cluster, images)
    second.until("which other searches may be using")
    assert not any("started" in line for line in second.lines)
    first.kill()
    second.end()
    assert curves(cluster.head.folder) == undisturbed
