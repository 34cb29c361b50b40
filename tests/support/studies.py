"""Studies with made-up curves in a real database, for what reads studies."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from data.dataset import Dataset, Split
from models.documented import CIFAR_CLASSES, DOCUMENTED
from models.evaluation import Mistake
from models.history import EpochFigures
from models.spec import count_parameters
from search.claims.pairing import KIND
from search.protocol import TestFigures
from search.settings import Settings
from search.spaces.builtin import Documents, Space
from search.spaces.training_defaults import TrainingDefaults
from search.study.attributes import DECISIONS, REASON
from search.study.evaluation_record import EvaluationRecord, draw_mistakes
from search.study.names import BASELINES
from search.study.opening import Opening, open_study
from search.study.recipe import StudyRecipe
from search.study.trials import run_name
from search.study.workspace import Workspace
from storage.tables import Epoch, ModelRow
from tests.support import made_up

COMPLETE, RUNNING = TrialState.COMPLETE, TrialState.RUNNING
PRUNED, FAIL = TrialState.PRUNED, TrialState.FAIL
CIFAR = tuple(sorted(CIFAR_CLASSES))


def dataset(classes: Sequence[str] = CIFAR, name: str = "cifar10") -> Dataset:
    """Images of noise; nothing is on the disk."""
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(40, dtype=np.int32) % len(classes)
    split = Split(images, labels, (40,))
    return Dataset(name, "made up", tuple(classes), split, split, split, "f1a9e7", Path("decoded"))


def curve(trial: int, epochs: int, params: dict[str, object]) -> list[EpochFigures]:
    """A learning curve that depends on the configuration, with noise."""
    random = np.random.default_rng(trial)
    rate = math.log10(float(params["learning_rate"]))  # type: ignore[arg-type]
    dropout = float(params["dropout_dense"])  # type: ignore[arg-type]
    floor = 0.55 + 0.35 * abs(rate + 3) + 0.5 * (dropout - 0.4) ** 2 + 0.02 * random.normal()
    found = []
    for epoch in range(1, epochs + 1):
        val_loss = floor + 1.6 * math.exp(-epoch / 4) + 0.03 * random.normal()
        loss = val_loss - (0.5 - dropout) * 0.4 * (1 - math.exp(-epoch / 6))
        figures = (loss, math.exp(-loss / 1.4), val_loss, math.exp(-val_loss / 1.4))
        found.append(EpochFigures(epoch, *figures, loss + 0.2, val_loss + 0.2, 1e-3, 2.5))
    return found


def begin(
    place: Workspace,
    name: str,
    data: Dataset | None = None,
    epochs: int = 20,
    objectives: tuple[str, ...] = (),
    pruner: str = "promote",
) -> tuple[optuna.Study, Space]:
    """A study without trials, as `treino search` begins one."""
    data = data or dataset()
    settings = Settings(
        data=data.name, study=name, epochs=epochs, objectives=objectives, pruner=pruner
    )
    space = Documents(TrainingDefaults(epochs=epochs), 32)
    recipe = StudyRecipe.of_search(settings, data, space)
    opening = Opening.of_search(settings, data, space)
    return open_study(place.storage, name, recipe, opening)[0], space


def add(
    place: Workspace,
    study: optuna.Study,
    space: Space,
    states: Sequence[TrialState],
    reason: str = "pruned by median after epoch {epochs}: val_loss was high",
    params: Sequence[str] = (),
) -> None:
    """Trials of those states; complete ones have all epochs, others fewer, failed ones none.

    With ``params``, what is recorded of their configurations is those alone.
    """
    rows, trials, ranges = [], [], space.distributions()
    sampler = optuna.samplers.RandomSampler(seed=3)
    started = datetime(2026, 1, 1)  # noqa: DTZ001 - Optuna's moments are naive
    first = len(study.get_trials(deepcopy=False))
    for number, state in enumerate(states, first):
        drawn = space.of_documented_run() if number == 0 else _drawn(study, space, sampler, number)
        assert drawn is not None
        epochs = {COMPLETE: space.epochs, FAIL: 0}.get(state, 1 + 2 * (number % 4))
        history = curve(number, epochs, drawn)
        attributes: dict[str, object] = {"parameters": 1000, "epochs": epochs}
        if state in (PRUNED, FAIL):
            attributes[REASON] = reason.format(epochs=epochs)
        if number % 3 == 0:
            attributes[DECISIONS] = ["after epoch 2: paused, rank 4 of 9 there"]
        values = [figures.val_loss for figures in history]
        model, _ = space.specs(drawn)
        # As in a study of one objective, or of loss and parameters.
        both = [min(values, default=math.nan), float(count_parameters(model, (32, 32, 3), 10))]
        told = both[: len(study.directions)] if state is COMPLETE else None
        trial = create_trial(
            state=state,
            values=told,
            params={name: drawn[name] for name in params or drawn},
            distributions={name: ranges[name] for name in params or drawn},
            intermediate_values={figures.epoch: figures.val_loss for figures in history},
            user_attrs=attributes,
        )
        trial.datetime_start = started + timedelta(minutes=number)
        trials.append(trial)
        for figures in history:
            row = figures.to_dict()
            rows.append(Epoch(study=study.study_name, run=run_name(number), **row))
    study.add_trials(trials)
    with Session(place.storage.engine) as session, session.begin():
        session.add_all(rows)


def hand_over(
    place: Workspace, study: optuna.Study, space: Space, data: Dataset | None = None
) -> ModelRow:
    """A retrained model of trial 0 with all that lies beside it but the model itself."""
    data = data or dataset()
    count = len(data.classes)
    random = np.random.default_rng(1)
    confusion = random.integers(0, 20, (count, count)) + 850 * np.eye(count, dtype=int)
    accuracy = float(np.trace(confusion) / confusion.sum())
    mistakes = tuple(Mistake(n, n % count, (n + 1) % count, 0.99 - 0.01 * n) for n in range(16))
    table = tuple(tuple(int(n) for n in row) for row in confusion)
    tested = EvaluationRecord.of(TestFigures(0.5, accuracy, table, 922_314, mistakes), data)
    files = place.layout.best(study.study_name)
    files.folder.mkdir(parents=True)
    files.tested.write_text(tested.to_json(), encoding="utf-8")
    draw_mistakes(tested, files.mistakes, "made up")
    run = f"{run_name(0)}-retrained-12345678"
    history = curve(0, 30, space.of_documented_run() or {})
    for figures in history:
        place.records.record_epoch(study.study_name, run, figures.to_dict())
    row = model_row(study.study_name, run, "retrain", "trial 0 retrained", accuracy, data)
    place.records.record_model(row)
    return row


def settle(place: Workspace, study: optuna.Study, pairs: int) -> None:
    """Paired trainings for all claims: a larger batch is worse, the rest does not matter."""
    random = np.random.default_rng(0)
    for training in made_up.paired(made_up.Truth(batch=-3.0), pairs, random):
        for epoch, seen in enumerate(training.figures, 1):
            figures = (seen.val_loss, seen.accuracy, seen.val_loss, seen.val_accuracy)
            row = EpochFigures(epoch, *figures, seen.val_loss, seen.val_loss, 1e-3, 2.5)
            place.records.record_epoch(study.study_name, training.name, row.to_dict())
        assert training.seed is not None
        made = model_row(study.study_name, training.name, KIND, training.name, 0.7, dataset())
        spec = json.dumps({"params": dict(training.params)})
        place.records.record_model(replace(made, spec=spec, seed=training.seed))


def baseline(place: Workspace, data: Dataset | None = None, epochs: int = 100) -> None:
    """The documents' run 10, trained on the same images for at most so many epochs."""
    name, title = f"run-10-{epochs:08d}", "run-10 trained here"
    row = model_row(BASELINES, name, "baseline", title, 0.7998, data or dataset())
    training = DOCUMENTED["run-10"].training.model_copy(update={"epochs": epochs})
    spec = json.dumps({"training": training.model_dump(mode="json")})
    place.records.record_model(replace(row, spec=spec))


def model_row(
    study: str, run: str, kind: str, title: str, accuracy: float, data: Dataset
) -> ModelRow:
    """What is recorded of a handed-over model."""
    training = DOCUMENTED["run-10"].training.model_dump(mode="json")
    return ModelRow(
        study=study,
        run=run,
        kind=kind,
        title=title,
        spec=json.dumps({"training": training}),
        trial=0 if kind == "retrain" else None,
        parameters=922_314,
        epochs=30,
        best_epoch=24,
        val_loss=0.6,
        val_accuracy=accuracy,
        test_loss=0.62,
        test_accuracy=accuracy,
        seconds=1234.0,
        seed=7,
        path="var/made up/best/model.keras",
        fingerprint=data.fingerprint,
    )


def _drawn(
    study: optuna.Study, space: Space, sampler: optuna.samplers.RandomSampler, number: int
) -> dict[str, object]:
    trial = FrozenTrial(number, RUNNING, None, None, None, {}, {}, {}, {}, {}, number)
    return {
        name: sampler.sample_independent(study, trial, name, distribution)
        for name, distribution in space.distributions().items()
    }
