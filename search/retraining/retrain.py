"""Retrains the study's best trials in full with several seeds, and delivers the best model.

That may be an ensemble of them. The best is chosen on the validation images. The test images are
used once per model, and not for choosing.
"""

import math
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from data.dataset import Dataset
from models.spec import EarlyStopping, OwnSpec, ReduceLROnPlateau, estimate_memory
from search.errors import NothingToTrainError, TrainingFailedError
from search.protocol import Failed
from search.retraining.card import card
from search.retraining.comparison import Report, compare, verdict
from search.retraining.delivery import Delivery
from search.retraining.ensembling import Ensemble, make_ensemble
from search.scheduling.seeds import trial_seed
from search.spaces.builtin import Space
from search.study.ensemble_record import EnsembleRecord
from search.study.recipe import recipe_of
from search.study.retraining_record import RetrainingRecord
from search.study.training_order import TrainingOrder
from search.study.trials import lowest, seed_number
from search.workers.resources import Need
from storage.files import Layout, RunFiles, write_atomically
from storage.tables import ModelRow


@dataclass(frozen=True)
class Delivered:
    """What was delivered, and what it was chosen from.

    Attributes:
        report: The comparison of the single models.
        model: The delivered model: the best of them, or the ensemble.
        ensemble: The ensemble beside the best single model; None if the user wanted none.
    """

    report: Report
    model: ModelRow
    ensemble: EnsembleRecord | None = None


def orders_of_best(
    study: optuna.Study,
    space: Space,
    *,
    epochs: int,
    top: int = 1,
    seeds: int = 1,
    among: Collection[int] | None = None,
) -> list[TrainingOrder]:
    """Orders to retrain the best ``top`` trials, each with ``seeds`` seeds.

    The best trials have the lowest loss at any epoch, whatever ended them. The first seed is the
    trial's own: same initial weights, same order of images.

    Args:
        study: The study.
        space: Its search space.
        epochs: Maximum epochs of each training.
        top: Number of trials.
        seeds: Number of seeds.
        among: Numbers of the trials to choose from; None for all.

    Raises:
        NothingToTrainError: No trial has a finite loss.
    """
    trials = study.get_trials(deepcopy=False)
    allowed = [trial for trial in trials if among is None or trial.number in among]
    best = [t for t in sorted(allowed, key=lowest)[:top] if math.isfinite(lowest(t))]
    if not best:
        raise NothingToTrainError(
            f"study {study.study_name!r} has no complete trial to retrain: "
            "resume the search first (make search)"
        )
    # Seed by seed, so that after an early end all trials have about as many seeds.
    return [_order(study, space, trial, epochs, again) for again in range(seeds) for trial in best]


def need_of(orders: Sequence[TrainingOrder], data: Dataset) -> Need:
    """What the trainings of the orders need of workers."""
    shape, classes = data.input_shape, len(data.classes)
    largest = max(estimate_memory(o.model, shape, classes, o.training.batch_size) for o in orders)
    code = next((o.model.code for o in orders if isinstance(o.model, OwnSpec)), "")
    return Need(data, largest=largest, code=code, jobs=len(orders))


def _order(
    study: optuna.Study, space: Space, trial: FrozenTrial, epochs: int, again: int
) -> TrainingOrder:
    model, training = space.specs(trial.params)
    training = training.model_copy(
        update={
            "epochs": epochs,
            "early_stopping": EarlyStopping(patience=10),
            "reduce_lr": ReduceLROnPlateau(factor=0.1, patience=5, min_lr=1e-6),
        }
    )
    return TrainingOrder(
        study=study.study_name,
        kind="retrain",
        name=f"trial-{trial.number:05d}-retrained",
        title=f"trial {trial.number} retrained" + (f", seed {again + 1}" if again else ""),
        model=model,
        training=training,
        seed=_seed(recipe_of(study).seed, seed_number(trial), again),
        trial=trial.number,
    )


def _seed(seed: int, number: int, again: int) -> int:
    """The trial's own seed first, then others, distinct from all trial seeds."""
    if not again:
        return trial_seed(seed, number)
    return int(np.random.SeedSequence((seed, number, again)).generate_state(1)[0])


def retrain(
    workshop: Delivery,
    study: optuna.Study,
    data: Dataset,
    layout: Layout,
    orders: Sequence[TrainingOrder],
    record: RetrainingRecord,
) -> Delivered | None:
    """Train orders of ``orders_of_best``, compare them, and deliver the best one.

    It is an ensemble of the models if ``record`` wants one and its monitored figure is better.

    Returns:
        What was delivered; None if the work was interrupted. The same call resumes it.

    Raises:
        TrainingFailedError: All trainings failed, or none can continue; or the ensemble could not
            be made, and the best single model is delivered.
    """
    places = [layout.run(study.study_name, order.run(data)) for order in orders]
    made = workshop.make_all(list(zip(orders, places, strict=True)), data)
    if None in made:
        return None
    rows = [row for row in made if isinstance(row, ModelRow)]
    failures = tuple(
        f"{order.title}: {end.reason}"
        for order, end in zip(orders, made, strict=True)
        if isinstance(end, Failed)
    )
    if not rows:
        raise TrainingFailedError(failures[0])
    trials = study.get_trials(deepcopy=False)
    numbers = list(dict.fromkeys(order.trial for order in orders))
    failed = [o.trial for o, end in zip(orders, made, strict=True) if isinstance(end, Failed)]
    of = [trials[n] for n in numbers if n is not None]
    report = compare(of, rows, failed, failures, orders[0].training.monitor)
    if not record.ensemble:
        return _deliver(study, data, layout, report, record)
    trained = [(o, row) for o, row in zip(orders, made, strict=True) if isinstance(row, ModelRow)]
    try:
        averaged = make_ensemble(workshop.session, data, orders, trained, report.model)
    except TrainingFailedError as error:
        _deliver(study, data, layout, report, record)
        folder = layout.best(study.study_name).folder
        raise TrainingFailedError(f"{error}; the best single model is in {folder}") from error
    return None if averaged is None else _deliver(study, data, layout, report, record, averaged)


def _deliver(
    study: optuna.Study,
    data: Dataset,
    layout: Layout,
    report: Report,
    record: RetrainingRecord,
    ensemble: Ensemble | None = None,
) -> Delivered:
    """Copy the best model to the study's folder of the delivered one, and write its card."""
    model, compared = report.model, None
    if ensemble is not None:
        compared = ensemble.record
        if ensemble.row is not None and compared.delivered is compared.ensemble:
            model = ensemble.row
    best = layout.best(study.study_name)
    best.retraining.unlink(missing_ok=True)  # until it is that of the new model
    _hand_over(layout.run(study.study_name, model.run), best)
    write_atomically(best.retraining, record.to_json())
    if compared is not None:
        write_atomically(best.ensemble, compared.to_json())
    cifar10 = recipe_of(study).images.of_cifar10
    page = card(
        report, verdict(report), data, best, model=model, ensemble=compared, cifar10=cifar10
    )
    write_atomically(best.card, page)
    return Delivered(report, model, compared)


def _hand_over(made: RunFiles, best: RunFiles) -> None:
    """Copy a model with its files; the model last, because it makes the others valid.

    Exports of another model are removed.
    """
    if best.model.exists() and best.model.read_bytes() != made.model.read_bytes():
        shutil.rmtree(best.exports, ignore_errors=True)
    for source, target in (
        (made.history, best.history),
        (made.curves, best.curves),
        (made.confusion, best.confusion),
        (made.tested, best.tested),
        (made.mistakes, best.mistakes),
        (made.ensemble, best.ensemble),
        (made.spec, best.spec),
        (made.model, best.model),
    ):
        if source.exists():
            write_atomically(target, source.read_bytes())
        else:  # an ensemble has no history; earlier versions stored no test results
            target.unlink(missing_ok=True)
