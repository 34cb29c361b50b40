"""Functions of the user's, searched for real: found out, trained, retrained, put to use."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import keras
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from data import catalog
from models.own_network import load
from models.own_ranges import Choice, Real, Value, Whole
from models.spec import OwnSpec, TrainingSpec
from search.errors import SettingsError
from search.protocol import Done, Failed, Job, NetworkSize, Resumed, Verdict
from search.spaces import probe
from search.spaces.hypermodel import OwnNetworks
from search.spaces.records import CodeRecord
from search.spaces.training_defaults import TrainingDefaults
from search.workers.worker import work
from tests.support.commands import Place
from tests.support.pictures import image_folder

TREINO = str(Path(sys.executable).with_name("treino"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_network.py"

# As KerasTuner's users write it, with what Optuna's add: a loop, a condition, defaults, grey images
# of a fixed size, a trial that is pruned, and at its end the search that it was written for.
TUTORIAL = """
import keras
import keras_tuner as kt
import optuna
from keras import layers

def build_model(hp):
    model = keras.Sequential([keras.Input((10, 10))])
    model.add(layers.Rescaling(1 / 255))
    model.add(layers.Flatten())
    for i in range(hp.Int("num_layers", 1, 2)):
        units = hp.Int(f"units_{i}", min_value=8, max_value=64, step=56, default=64)
        activation = hp.Choice("activation", ["relu", "tanh"])
        model.add(layers.Dense(units=units, activation=activation))
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(rate=0.25))
    model.add(layers.Dense(3, activation="softmax"))
    learning_rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log", default=1e-3)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    hp.set_user_attr("weights", model.count_params())
    hp.set_user_attr("epochs", 5)
    if hp.number == 1:
        raise optuna.TrialPruned("an odd number")
    return model

tuner = kt.RandomSearch(build_model, objective="val_accuracy", max_trials=5)
tuner.search(x_train, y_train, epochs=5)
"""


@pytest.mark.slow("tries a user's function and trains two trials")
def test_a_tutorials_network_is_searched_as_it_is(tmp_path: Path) -> None:
    image_folder(tmp_path / "images", each=20)
    (tmp_path / "tutorial.py").write_text(TUTORIAL)
    arguments = ["search", "--data", "images", "--space", "tutorial.py:build_model"]
    arguments += ["--trials", "3", "--epochs", "1", "--workers", "1", "--image-size", "8"]
    out = Place(tmp_path).run(*arguments)
    trying, parameters = out.index("trying tutorial.py:build_model …"), out.index("parameters of")
    assert trying < parameters
    assert "tutorial.py:build_model: num_layers, units_0, activation, dropout, lr" in out
    assert "is not run from line 30, 'tuner = kt.RandomSearch(" in out
    assert "the images are converted to 10x10 in front of its networks" in out
    assert "seem to scale" not in out
    first, pruned, last = Place(tmp_path).trials
    assert first.state == last.state == TrialState.COMPLETE
    assert first.params == {
        "num_layers": 1,
        "units_0": 64,
        "activation": "relu",
        "dropout": False,
        "lr": 1e-3,
        "units_1": 64,
    }
    assert first.user_attrs["origin"] == "defaults of the function"
    assert first.user_attrs["weights"] == 101 * 64 + 65 * 3 == first.user_attrs["parameters"]
    assert (first.user_attrs["epochs"], first.user_attrs["own epochs"]) == (1, 5)
    assert pruned.state == TrialState.PRUNED
    assert re.match(
        r"tutorial.py:\d+ in build_model: raise .*: an odd", pruned.user_attrs["reason"]
    )
    assert pruned.user_attrs["weights"] > 0
    history = (tmp_path / "var/images/runs/trial-00000/spec.json").read_text()
    assert json.loads(history)["model"]["params"] == first.params


@pytest.mark.slow("a search, a retraining and predictions")
def test_the_example_is_searched_retrained_and_put_to_use(tmp_path: Path) -> None:
    image_folder(tmp_path / "images", each=20)
    (tmp_path / "net.py").write_text(EXAMPLE.read_text())
    search = ("search", "--data", "images", "--image-size", "8", "--space", "net.py:build")
    out = Place(tmp_path).run(*search, "--trials", "1", "--epochs", "1", "--workers", "1")
    assert "trial 0: complete" in out
    (trial,) = Place(tmp_path).trials
    assert "origin" not in trial.user_attrs  # no defaults: the first trial is the sampler's
    assert trial.user_attrs["parameters"] > 0
    Place(tmp_path).run("retrain-best", "--epochs", "2")
    best = tmp_path / "var/images/best"
    spec = json.loads((best / "spec.json").read_text())
    assert spec["training"]["batch_size"] == trial.params["batch_size"]
    assert spec["training"]["learning_rate"] == trial.params["learning_rate"]
    told = json.loads(Place(tmp_path).run("predict", str(best), "images", "--json"))
    assert len(told) == 60
    board = json.loads(Place(tmp_path).run("leaderboard", "--json"))
    assert {row["parameters"] for row in board} == {trial.user_attrs["parameters"]}
    # Other code makes other trials, and is not run in the name of the old.
    (tmp_path / "net.py").write_text(EXAMPLE.read_text().replace('"relu"', '"tanh"'))
    said = Place(tmp_path).run("retrain-best", "--epochs", "3", code=1)
    assert "net.py:build is not what the study was made with" in said


@pytest.mark.slow("imports Keras in a process of its own")
def test_what_a_function_asks_for_is_found_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test may have run the file in this process.
    monkeypatch.delitem(sys.modules, "own_own_network", raising=False)
    found = probe.find(f"{EXAMPLE}:build", (16, 16, 3), 3, tmp_path / "log")
    assert found.scales
    assert dict(found.ranges) == {
        "batch_size": Choice(choices=(32, 64)),
        "learning_rate": Real(low=1e-4, high=1e-2, log=True),
        "filters": Whole(low=8, high=32, step=8),
        "blocks": Whole(low=1, high=3),
        "dropout": Choice(choices=(True, False)),
        "dropout_rate": Real(low=0.1, high=0.5),
    }
    assert "own_own_network" not in sys.modules  # the file did not run here


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("1 / 0", SettingsError, "net.py:2 in build: 1 / 0: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", Exception, "the process that ran it died (exit code 3)"),
        ("trial.suggest_int('n', 3, 1)", SettingsError, "ValueError: 'n': low 3 is more than high"),
    ],
)
def test_what_goes_wrong_there_is_one_line(
    tmp_path: Path, body: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "net.py").write_text(f"def build(trial, shape, classes):\n    {body}\n")
    with pytest.raises(error) as caught:
        probe.find(f"{tmp_path / 'net.py'}:build", (8, 8, 3), 3, tmp_path / "log")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def own(**ranges: Choice | Real | Whole) -> OwnNetworks:
    return OwnNetworks(
        TrainingDefaults(epochs=20), 32, code="/home/me/net.py:build", digest="0123", ranges=ranges
    )


def test_the_space_is_what_the_function_asks_for() -> None:
    space = own(
        n=Whole(low=8, high=64, step=8),
        kind=Choice(choices=("a", None, True)),
        learning_rate=Real(low=1e-4, high=0.1, log=True),
        batch_size=Choice(choices=(16, 32)),
    )
    assert space.distributions() == {
        "n": IntDistribution(8, 64, step=8),
        "kind": CategoricalDistribution(("a", None, True)),
        "learning_rate": FloatDistribution(1e-4, 0.1, log=True),
        "batch_size": CategoricalDistribution((16, 32)),
    }
    study = optuna.create_study()
    params: dict[str, Value] = {"n": 16, "kind": None, "learning_rate": 0.01, "batch_size": 16}
    study.enqueue_trial(params)
    assert space.suggest(study.ask()) == params
    model, training = space.specs(params)
    assert model == OwnSpec(code=space.code, digest="0123", params=params)
    assert isinstance(training, TrainingSpec)
    assert (training.learning_rate, training.batch_size, training.epochs) == (0.01, 16, 20)
    assert space.record() == CodeRecord.from_json(space.record().to_json())
    assert space.record() != own(n=Whole(low=8, high=64)).record()


def test_a_batch_size_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"batch_size 0: Input should be greater"):
        own(batch_size=Choice(choices=(32, 0)))
    with pytest.raises(SettingsError, match=r"batch_size 16.0: Input should be a valid integer"):
        own(batch_size=Real(low=16, high=32))
    with pytest.raises(SettingsError, match="suggests no parameters"):
        own()


class Line:
    """A line to a tuner that lets everything go on."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def send(self, message: object) -> None:
        self.told.append(message)

    def recv(self) -> Verdict:
        return Verdict.GO_ON


@pytest.mark.slow("trains, saves and loads a network")
def test_what_a_worker_finds_wrong_is_told_by_whose_fault_it_is(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images", each=20, side=16)
    data = catalog.load(str(folder), image_size=16, cache=tmp_path / "cache").dataset
    reference = f"{EXAMPLE}:build"
    params: dict[str, Value] = {"batch_size": 64, "learning_rate": 0.01, "filters": 8}
    params |= {"blocks": 1, "dropout": False}
    spec = OwnSpec(code=reference, digest=load(reference).digest, params=params)
    job = Job(
        run="trial",
        model=spec,
        training=TrainingSpec(epochs=1, batch_size=64),
        data=data.path,
        seed=1,
        checkpoint=tmp_path / "checkpoint.npz",
    )
    line = Line()
    assert work(replace(job, hand_over=tmp_path / "model.keras"), line) == Done(ANY)
    count = keras.saving.load_model(tmp_path / "model.keras").count_params()
    assert [message.parameters for message in line.told if isinstance(message, Resumed)] == [count]
    small = replace(job, max_parameters=count - 1, checkpoint=tmp_path / "other.npz")
    assert work(small, Line()) == Failed(
        "large", f"{count:,} parameters, more than {count - 1:,}", size=NetworkSize(count)
    )
    quick = replace(job, max_operations=1000, checkpoint=tmp_path / "other.npz")
    told = work(quick, Line())
    assert isinstance(told, Failed)
    assert told.reason.endswith(" multiply-adds per image, more than 1,000")
    changed = work(replace(job, model=spec.model_copy(update={"digest": "0123"})), Line())
    assert isinstance(changed, Failed)
    assert changed.kind == "environment"
    less = work(replace(job, model=spec.model_copy(update={"params": {"batch_size": 64}})), Line())
    assert isinstance(less, Failed)
    assert less.kind == "error"
    assert re.match(r"own_network\.py:\d+ in build: trial\.suggest_float", less.reason)
    assert "'learning_rate' was never asked for" in less.reason
