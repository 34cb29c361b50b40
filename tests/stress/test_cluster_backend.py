"""The cluster's backend when workers, agents and nodes are gone or silent."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.dataset import Dataset
from search.protocol import EpochDone, Failed, Job, Message, Resumed, Verdict
from search.workers.backends import ray as ray_backend
from search.workers.backends.agent import processor
from search.workers.backends.ray import RayBackend
from tests.support.clusters import Cluster, cluster_of, opened, until
from tests.support.pictures import decoded
from tests.support.workers import epochs, job, watch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return decoded(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and two nodes of one processor; tests kill nodes and add others."""
    with cluster_of(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


def test_dead_workers_and_agents_are_noticed_within_a_second_and_the_job_resumes(
    cluster: Cluster, data: Dataset, tmp_path: Path
) -> None:
    started = job(data, tmp_path, "struck", epochs=9)
    with opened(cluster, data) as backend:
        for victims in ("workers", "agents"):
            seconds = [struck(cluster, backend, started, victims) for _ in range(3)]
            assert min(seconds) < 1.0, seconds  # the others: the machine may be busy
        assert not {0, 1} & set(backend.slots)
        slot = backend.slots[0]
        backend.start(slot, started)
        heard = watch(backend, (slot,))
    assert isinstance(heard[0], Resumed)
    assert len(heard[0].history) == 6  # none was lost
    assert epochs(heard) == [7, 8, 9]


def struck(cluster: Cluster, backend: RayBackend, started: Job, victims: str) -> float:
    """Train one epoch of a job and kill what trains it; the seconds until it is reported."""
    until(backend, lambda: len(backend.slots) == 2)
    moment = 0.0

    def strike(slot: int, message: Message) -> Verdict | None:
        nonlocal moment
        if not isinstance(message, EpochDone):
            return Verdict.GO_ON
        processes = [p for node in cluster.nodes if node.workers for p in getattr(node, victims)]
        moment = time.monotonic()
        for process in processes:
            process.kill()
        return None

    slot = backend.slots[0]
    backend.start(slot, started)
    end = watch(backend, (slot,), strike)[-1]
    seconds = time.monotonic() - moment
    assert isinstance(end, Failed)
    assert end.kind == "died"
    assert "node 127.0.0.1" in end.reason
    return seconds


def test_a_lost_node_gives_its_job_back_and_another_one_takes_it(
    cluster: Cluster, data: Dataset, tmp_path: Path
) -> None:
    started = job(data, tmp_path, "lost", epochs=4)
    with opened(cluster, data) as backend:
        first, second = backend.slots
        assert backend.processor(first) == processor()
        backend.start(first, started)

        def cut(slot: int, message: Message) -> Verdict | None:
            if isinstance(message, EpochDone):
                victim = next(node for node in cluster.nodes if node.workers)
                cluster.nodes.remove(victim)
                victim.kill()
                return None
            return Verdict.GO_ON

        end = watch(backend, (first,), cut)[-1]
        assert isinstance(end, Failed)
        assert end.kind == "lost"
        assert end.reason.startswith("node 127.0.0.1")
        assert list(backend.slots) == [second]
        backend.start(second, started)
        heard = watch(backend, (second,))
        assert isinstance(heard[0], Resumed)
        assert [known.epoch for known in heard[0].history] == [1]
        assert epochs(heard) == [2, 3, 4]
        cluster.join()
        until(backend, lambda: len(backend.slots) == 2)
        assert first not in backend.slots


def test_an_agent_that_was_given_up_is_not_listened_to(
    cluster: Cluster, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(cluster, data) as backend:
        first, second = backend.slots
        backend.start(first, job(data, tmp_path, "silent"))

        def suspend(slot: int, message: Message) -> Verdict | None:
            if isinstance(message, EpochDone):
                monkeypatch.setattr(ray_backend, "SILENCE", 3.0)
                for node in cluster.nodes:
                    if node.workers:
                        for agent in node.agents:
                            agent.suspend()
                return None
            return Verdict.GO_ON

        end = watch(backend, (first,), suspend)[-1]
        assert isinstance(end, Failed)
        assert end.kind == "lost"
        assert "silent" in end.reason
        monkeypatch.undo()
        until(backend, lambda: len(backend.slots) == 2)
        assert first not in backend.slots
        backend.start(second, job(data, tmp_path, "silent"))
        assert epochs(watch(backend, (second,))) == [2, 3]
