"""What every backend guarantees, and what nodes of a cluster share."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.dataset import Dataset
from models import own_network
from models.spec import OwnSpec
from search.protocol import Done, EpochDone, Failed, Message, Paused, Resumed, Stopped, Verdict
from search.workers.backends import ray as ray_backend
from search.workers.backends.agent import versions
from search.workers.backends.base import Backend
from search.workers.backends.local import LocalBackend, Slot
from search.workers.backends.simulated import SimulatedBackend
from search.workers.own_files import collect
from tests.support.clusters import Cluster, cluster_of, opened, until
from tests.support.laboratory import figures
from tests.support.pictures import decoded
from tests.support.workers import epochs, job, watch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return decoded(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and two nodes of one processor; tests may kill nodes and add others."""
    with cluster_of(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


@pytest.fixture(scope="class", params=["local", "simulated", "ray"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Dataset
) -> Iterator[Backend]:
    """All backends keep one contract; processes stay from test to test, as in a search."""
    if request.param == "local":
        logs = tmp_path_factory.mktemp("logs")
        with LocalBackend([Slot(threads=1), Slot(threads=1)], logs) as backend:
            yield backend
    elif request.param == "ray":
        cluster: Cluster = request.getfixturevalue("cluster")
        with opened(cluster, data) as backend:
            yield backend
    else:
        curve = [figures(epoch, 1.0) for epoch in range(1, 100)]
        with SimulatedBackend(2, lambda job: curve[: job.training.epochs]) as backend:
            yield backend


class TestContract:
    """What every backend guarantees."""

    @pytest.mark.slow("two workers train")
    def test_jobs_say_where_they_start_then_each_epoch_then_their_end_two_at_once(
        self, backend: Backend, data: Dataset, tmp_path: Path
    ) -> None:
        jobs = [job(data, tmp_path, run) for run in ("one", "two")]
        heard: dict[int, list[Message]] = {0: [], 1: []}

        def keep(slot: int, message: Message) -> Verdict:
            heard[slot].append(message)
            return Verdict.GO_ON

        for slot in (0, 1):
            backend.start(slot, jobs[slot])
        ends = watch(backend, (0, 1), keep)[-1:]
        for messages in heard.values():
            assert isinstance(messages[0], Resumed)
            assert messages[0].history == ()
            assert epochs(messages) == [1, 2, 3]
            assert [m.last for m in messages[1:] if isinstance(m, EpochDone)] == [
                *(False, False, True)
            ]
        assert ends == [Done()]
        backend.start(0, jobs[0])  # a job that was over is over
        again = watch(backend)
        assert isinstance(again[0], Resumed)
        assert again[0].last
        assert [known.epoch for known in again[0].history] == [1, 2, 3]
        assert again[1:] == [Done()]

    @pytest.mark.slow("two workers train")
    def test_a_verdict_ends_a_job_which_goes_on_elsewhere_or_is_refused_at_its_start(
        self, backend: Backend, data: Dataset, tmp_path: Path
    ) -> None:
        started = job(data, tmp_path, "paused", epochs=4)

        def after(number: int, verdict: Verdict) -> Callable[[int, Message], Verdict]:
            def answer(slot: int, message: Message) -> Verdict:
                now = isinstance(message, EpochDone) and message.figures.epoch == number
                return verdict if now else Verdict.GO_ON

            return answer

        backend.start(0, started)
        heard = watch(backend, answer=after(1, Verdict.PAUSE))
        assert epochs(heard) == [1]
        assert heard[-1] == Paused()
        backend.start(0, started)
        refused = watch(backend, answer=lambda *_: Verdict.PAUSE)
        assert [type(message) for message in refused] == [Resumed, Paused]
        backend.start(1, started)  # another worker takes it up
        heard = watch(backend, (1,), after(3, Verdict.STOP))
        assert isinstance(heard[0], Resumed)
        assert [known.epoch for known in heard[0].history] == [1]
        assert epochs(heard) == [2, 3]
        assert heard[-1] == Stopped()

    @pytest.mark.slow("trains twice in worker processes")
    def test_a_killed_job_ends_as_died_and_the_slot_is_free(
        self, backend: Backend, data: Dataset, tmp_path: Path
    ) -> None:
        killed = job(data, tmp_path, "killed")

        def kill(slot: int, message: Message) -> Verdict | None:
            if isinstance(message, EpochDone):
                backend.kill(slot, "for the test")
            return Verdict.GO_ON  # a killed worker's messages are answered, too

        backend.start(0, killed)
        end = watch(backend, answer=kill)[-1]
        assert isinstance(end, Failed)
        assert end.kind == "died"
        backend.start(0, killed)
        heard = watch(backend)
        assert isinstance(heard[0], Resumed)
        assert [known.epoch for known in heard[0].history] == [1]
        assert epochs(heard) == [2, 3]


OWN = """
import keras
from helpers import head

def build(trial, shape, classes):
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, head(x, trial.suggest_int("units", 2, 3), classes))
"""
HELPERS = """
import keras

def head(x, units, classes):
    x = keras.layers.Dense(units)(x)
    return keras.layers.Dense(classes, activation="softmax")(x)
"""


@pytest.mark.slow("trains in worker processes of two nodes")
class TestCluster:
    """What only a cluster does. The tests leave two nodes to the next one."""

    def test_a_curve_is_that_of_a_single_machine_and_nodes_share_nothing(
        self, cluster: Cluster, data: Dataset, tmp_path: Path
    ) -> None:
        code = f"{tmp_path / 'net.py'}:build"
        (tmp_path / "net.py").write_text(OWN)
        (tmp_path / "helpers.py").write_text(HELPERS)
        digest = own_network.load(code).digest
        model = OwnSpec(code=code, digest=digest, params={"units": 2})
        folders = {name: tmp_path / name for name in ("there", "here")}

        def trained(backend: Backend, folder: Path) -> list[Message]:
            run = replace(job(data, folder, "own"), model=model)
            backend.start(0, replace(run, hand_over=folder / "model.keras"))
            return watch(backend)

        with opened(cluster, data, code=collect(code)) as backend:
            there = trained(backend, folders["there"])
        with LocalBackend([Slot(threads=1)], tmp_path / "logs") as local:
            here = trained(local, folders["here"])

        def curve(messages: list[Message]) -> list[tuple[float, float]]:
            done = (m.figures for m in messages if isinstance(m, EpochDone))
            return [(figures.val_loss, figures.loss) for figures in done]

        assert curve(there) == curve(here)
        assert isinstance(there[-1], Done)
        assert there[-1] == here[-1]
        for folder in folders.values():
            assert (folder / "model.keras").stat().st_size > 0
            assert (folder / "own/checkpoint.npz").stat().st_size > 0
        for node in cluster.nodes:
            assert [path.name for path in (node.cache / "decoded").iterdir()] == [data.path.name]
            # Work of a search that has ended is gone.
            assert not any((node.cache / "cluster").iterdir())

    def test_a_node_with_another_version_is_left_out_with_one_line(
        self, cluster: Cluster, data: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = {**versions(), "Keras": "3.1.4"}
        monkeypatch.setattr(ray_backend, "versions", lambda: other)
        lines: list[str] = []
        with opened(cluster, data, slots=0) as backend:

            def told() -> bool:
                lines.extend(backend.news())
                return sum("left out" in line for line in lines) == 2

            until(backend, told)
            assert not backend.slots
        assert all("Keras" in line and "3.1.4" in line for line in lines if "left out" in line)
