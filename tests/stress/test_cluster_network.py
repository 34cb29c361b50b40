"""Hosts that share only a network: a head with the tuner, and two nodes that are cut off."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.workers.backends.ray import DETECTION
from tests.support.clusters import Cluster, Search, curves, on_one_machine, repeated
from tests.support.networks import available, network
from tests.support.pictures import image_folder

pytestmark = pytest.mark.skipif(not available(), reason="this user cannot make networks here")
CUT = 120.0  # seconds


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # Not in a temporary folder of pytest: hosts have folders of their own in its place.
    folder = Path(tempfile.mkdtemp(prefix="treino-hosts-", dir="/var/tmp"))
    try:
        with network() as hosts:
            cluster = Cluster(folder, hosts)
            try:
                yield cluster
            finally:
                cluster.close()
    finally:
        shutil.rmtree(folder)


@pytest.mark.timeout(1500)
def test_nodes_that_are_cut_off_for_two_minutes_cost_an_epoch_each_and_join_again(
    cluster: Cluster,
) -> None:
    images = image_folder(cluster.folder / "images", each=20)
    hosts = [node.host for node in (cluster.join(), cluster.join()) if node.host is not None]
    search = Search(cluster, images)
    search.until("trial 1: epoch 1/")
    began = time.monotonic()
    for host in hosts:
        host.cut()
    for host in hosts:
        # Noticed by Ray's head, or by the tuner, which waits for answers a little shorter.
        search.until(f"node {host.address} has left", f"node {host.address} is silent")
    noticed = time.monotonic() - began
    assert noticed < 2 * DETECTION, noticed  # twice: the machine may be busy
    time.sleep(max(0.0, CUT - noticed))
    for host in hosts:
        host.mend()
    search.end()
    assert curves(cluster.head.folder) == on_one_machine(cluster.folder / "single", images)
    assert repeated(cluster) <= len(hosts)
    for node in cluster.nodes:  # each got the images, once
        assert len(list(node.cache.glob("decoded/*"))) == 1
