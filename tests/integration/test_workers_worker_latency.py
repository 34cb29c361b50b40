"""A worker measures how long a network takes for an image, and trains it as if it had not."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from data.dataset import Dataset
from models import own_network
from models.spec import OwnSpec
from search.protocol import Done, EpochDone, Failed, Job, Message, Resumed, Verdict
from search.workers.worker import work
from tests.support.pictures import decoded
from tests.support.trainings import NETWORK, TRAINING

OWN = """
import keras
def build(trial):
    return keras.Sequential([
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(trial.suggest_int("units", 2, 8)),
        keras.layers.Dropout(0.3),
        keras.layers.GaussianDropout(0.2),
        keras.layers.Dense(3, activation="softmax"),
    ])
"""


@dataclass
class Line:
    """The other end of a worker's channel, which agrees to everything."""

    told: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.told.append(message)

    def recv(self) -> Verdict:
        return Verdict.GO_ON


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return decoded(tmp_path_factory.mktemp("data"))


def job(data: Dataset, folder: Path, kind: str) -> Job:
    training = TRAINING.model_copy(update={"epochs": 2})
    model: OwnSpec = NETWORK  # type: ignore[assignment]
    if kind == "own":
        (folder / "net.py").write_text(OWN)
        code = f"{folder / 'net.py'}:build"
        model = OwnSpec(code=code, digest=own_network.load(code).digest, params={"units": 4})
    return Job("run", model, training, data.path, seed=3, checkpoint=folder / "checkpoint.npz")


def curve(told: list[Message]) -> list[EpochDone]:
    ends = [message for message in told if isinstance(message, EpochDone)]
    return [replace(end, figures=replace(end.figures, seconds=0.0)) for end in ends]


@pytest.mark.slow("trains two networks twice")
@pytest.mark.parametrize("kind", ["built in", "own"])
def test_it_is_told_before_the_first_epoch_and_leaves_the_curve_as_it_is(
    data: Dataset, tmp_path: Path, kind: str
) -> None:
    lines = {}
    for size in ("latency", ""):
        ordered = job(data, tmp_path, kind)
        line = lines[size] = Line()
        checkpoint = ordered.checkpoint.with_name(f"{size}.npz")
        assert work(replace(ordered, size=size, checkpoint=checkpoint), line) == Done()
        (started,) = line.told[:1]
        assert isinstance(started, Resumed)
        assert (0 < started.latency < 1000) if size else started.latency == 0
    assert curve(lines["latency"].told) == curve(lines[""].told)
    assert len(curve(lines[""].told)) == 2


def test_a_network_that_is_too_large_is_not_measured(data: Dataset, tmp_path: Path) -> None:
    line = Line()
    ended = work(replace(job(data, tmp_path, "own"), size="latency", max_parameters=5), line)
    assert isinstance(ended, Failed)
    assert ended.kind == "large"
    assert ended.size is not None
    assert ended.size.latency == 0
    assert line.told == []


def test_operations_of_an_own_network_are_counted_if_they_are_minimised(
    data: Dataset, tmp_path: Path
) -> None:
    line = Line()
    work(replace(job(data, tmp_path, "own"), size="operations"), line)
    (started,) = line.told[:1]
    assert isinstance(started, Resumed)
    assert started.operations == 8 * 8 * 3 * 4 + 4 * 3
