"""Displayed commands ask for what the user asked for, whatever that was."""

import shlex
from dataclasses import fields, replace
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from models.documented import DOCUMENTED
from search.cli.app import app
from search.cli.options import with_settings
from search.reports.reproduce import baseline_command, retrain_command, search_command
from search.settings import OF_RECORD, OF_SEARCH, Settings
from search.spaces.builtin import make_space
from search.spaces.training_defaults import TrainingDefaults
from search.study.opening import Command, Opening
from search.study.recipe import StudyRecipe
from search.study.retraining_record import RetrainingRecord
from tests.support.studies import dataset, model_row

# For every setting of a search, one that is not its default. A new one needs one, too.
OTHERS: dict[str, Any] = {
    "data": "cifar10",
    "image_size": 32,
    "skip_bad_images": True,
    "images": 500,
    "seed": 3,
    "study": "my 'birds'",
    "storage": "elsewhere.db",
    "storage_patience": 12.5,
    "trials": 7,
    "budget_epochs": 90,
    "epochs": 9,
    "workers": 2,
    "cluster": "10.0.0.1:6379",
    "timeout": 60.0,
    "stop_when_flat": True,
    "sampler": "tpe",
    "prior": "none",
    "pruner": "median",
    "space": "extended",
    "monitor": "val_auc",
    "objectives": ("val_auc", "latency"),
    "class_weights": "balanced",
    "train_order": "folders",
    "augment": True,
    "precision": "bfloat16",
    "early_stopping": False,
    "documented": False,
    "keep": 2,
    "audit": 4,
    "track": ("tensorboard", "mlflow=http://h/"),
    "max_params": 99,
    "max_operations": 1234,
}
# What two objectives exclude.
OF_TWO = ("stop_when_flat", "sampler", "pruner", "audit")


def made_by(settings: Settings, command: Command = "search") -> tuple[StudyRecipe, Opening]:
    data = dataset()
    defaults = {name: getattr(settings, name) for name in TrainingDefaults.model_fields}
    space = make_space(settings.space, TrainingDefaults.model_validate(defaults), 32)
    recipe = StudyRecipe.of_search(settings, data, space)
    return recipe, Opening.of_search(settings, data, space, command)


def command_of(settings: Settings) -> str:
    assert settings.study is not None
    return search_command(settings.study, *made_by(settings))


def read_by_treino(text: str) -> dict[str, Any]:
    """The options that treino's own command line makes of a displayed command."""
    name, *options = shlex.split(text.replace("\\\n", " "))[1:]
    command: Any = get_command(app)
    context = command.commands[name].make_context(name, options)
    return {"command": name, **context.params}


def parsed(command: str) -> Settings:
    """The settings that the command line makes of a displayed command."""
    read: list[Settings] = []

    @with_settings(*OF_SEARCH)
    def search(settings: Settings) -> None:
        read.append(settings)

    reader = typer.Typer()
    reader.command()(search)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["treino", "search"]
    result = CliRunner().invoke(reader, words[2:])
    assert result.exit_code == 0, result.output
    return read[0]


@pytest.mark.parametrize("two", [False, True])
def test_the_command_of_a_search_has_every_setting(two: bool) -> None:
    left = OF_TWO if two else ("objectives",)
    settings = Settings(**{name: OTHERS[name] for name in OF_SEARCH if name not in left})
    defaults = Settings()
    same = {name for name in OF_SEARCH if getattr(settings, name) == getattr(defaults, name)}
    assert same == {"image_size", *left}  # that of the images here
    assert parsed(command_of(settings)) == settings


def test_it_is_short_where_nothing_was_set() -> None:
    settings = Settings(study="birds", data="digits")
    command = command_of(settings)
    assert "sampler" not in command
    assert "storage" not in command
    assert parsed(command) == replace(settings, trials=None)


def test_passwords_are_not_stored_with_a_study() -> None:
    settings = Settings(
        study="birds",
        storage="postgresql://me:secret@host/studies",
        track=("mlflow=http://me:secret@host/",),
    )
    command = command_of(settings)
    assert "secret" not in command
    assert "--storage 'postgresql://me:***@host/studies'" in command
    assert "--track 'mlflow=http://me:***@host/'" in command


def test_a_recording_is_repeated_by_a_recording() -> None:
    settings = Settings(**{name: OTHERS[name] for name in OF_RECORD}, trials=40, keep=0)
    text = search_command("my 'birds'", *made_by(settings, "record"))
    read = read_by_treino(text)
    assert (read["command"], read["configurations"]) == ("record", 40)
    assert {name: read[name] for name in OF_RECORD} == {name: OTHERS[name] for name in OF_RECORD}


def test_a_baseline_has_the_images_of_the_study() -> None:
    plain = Settings(data="cifar10", study="s")
    assert baseline_command(*made_by(plain)) == "treino baseline run-10 --data cifar10"
    chosen = {name: OTHERS[name] for name in ("data", "skip_bad_images", "images", "seed")}
    read = read_by_treino(baseline_command(*made_by(Settings(**chosen, study="s"))))
    assert (read["command"], read["run"]) == ("baseline", "run-10")
    assert {name: read[name] for name in chosen} == chosen


RECORD = RetrainingRecord(
    epochs=7, top=4, seeds=2, ensemble=True, folds=5, where="latency <= 2.5 and units != 'a b'"
)


def test_the_command_of_a_retraining_has_every_option() -> None:
    command: Any = get_command(app)
    found = command.commands["retrain-best"]
    values = {option.name for option in found.params} - {"as_json", "context"}
    # Where and with which resources it ran does not change the model.
    values -= {"study", "storage", "storage_patience", "workers", "cluster"}
    values = {"epochs" if name == "retrain_epochs" else name for name in values}
    assert values == {*RetrainingRecord.model_fields}
    default = RetrainingRecord(epochs=0)
    assert all(getattr(RECORD, name) != getattr(default, name) for name in values)
    text = retrain_command(model_row("my birds", "run", "retrain", "", 0.5, dataset()), RECORD)
    options = read_by_treino(text)
    read = {**options, "epochs": options["retrain_epochs"]}
    assert (read["command"], read["study"]) == ("retrain-best", "my birds")
    assert {name: read[name] for name in values} == RECORD.model_dump()


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (RetrainingRecord(epochs=7), "--epochs 7"),
        (RetrainingRecord(epochs=7, top=1, folds=3), "--epochs 7 --folds 3 --top 1"),
        (None, f"--epochs {DOCUMENTED['run-10'].training.epochs}"),  # of an earlier version
    ],
)
def test_it_has_only_what_was_asked_for(record: RetrainingRecord | None, options: str) -> None:
    row = model_row("birds", "run", "retrain", "", 0.5, dataset())
    assert retrain_command(row, record) == f"treino retrain-best --study birds {options}"


def test_every_setting_of_the_command_line_is_one() -> None:
    assert {*OF_SEARCH} <= {field.name for field in fields(Settings)}
