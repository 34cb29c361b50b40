"""Workers of a cluster's nodes and their GPUs, which Ray and the driver only say are there."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.catalog import load
from models import own_network
from models.spec import OwnSpec
from search.protocol import Done
from search.workers.own_files import collect
from tests.support.clusters import Cluster, cluster_of, opened
from tests.support.gpus import driver
from tests.support.pictures import image_folder
from tests.support.workers import job, watch

SAYING = """
import os
import keras

def build(trial, shape, classes):
    print("GPUs:", os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"], flush=True)
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))
"""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster"), 0) as cluster:
        yield cluster


@pytest.mark.timeout(900)
def test_each_worker_sees_its_own_gpu_of_those_that_its_node_has(
    cluster: Cluster, tmp_path: Path
) -> None:
    two = {"PATH": f"{driver(tmp_path, '24576 24576')}{os.pathsep}{os.environ['PATH']}"}
    cluster.join(2, RAY_OVERRIDE_RESOURCES='{"GPU": 2}', **two)
    cluster.join(1, RAY_OVERRIDE_RESOURCES='{"GPU": 1}', CUDA_VISIBLE_DEVICES="1", **two)
    (tmp_path / "net.py").write_text(SAYING)
    code = f"{tmp_path / 'net.py'}:build"
    images = image_folder(tmp_path / "images")
    data = load(str(images), image_size=8, cache=tmp_path / "cache").dataset
    model = OwnSpec(code=code, digest=own_network.load(code).digest, params={})
    with opened(cluster, data, slots=3, code=collect(code), largest=2**20) as backend:
        lines = backend.news()
        for slot in backend.slots:
            backend.start(slot, replace(job(data, tmp_path, f"run-{slot}", 1), model=model))
        ends = watch(backend, tuple(backend.slots))
    assert sum(isinstance(end, Done) for end in ends) == 3
    assert sorted(line.rpartition(": ")[2] for line in lines if "worker" in line) == [
        *("1 worker, 1 GPU", "2 workers, 2 GPUs")
    ]
    first, second = (
        sorted(
            line
            for log in node.cache.glob("logs/a study/*.log")
            for line in log.read_text().splitlines()
            if line.startswith("GPUs:")
        )
        for node in cluster.nodes
    )
    assert sorted(set(first)) == ["GPUs: 0 PCI_BUS_ID", "GPUs: 1 PCI_BUS_ID"]
    assert set(second) == {"GPUs: 1 PCI_BUS_ID"}
