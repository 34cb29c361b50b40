"""The figures of trials by name: sizes, the best epoch, hyperparameters."""

import math
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial

from models.history import MAXIMISED, best_epoch
from models.spec import OwnSpec
from search.protocol import NetworkSize
from search.spaces.builtin import Space
from search.spaces.network_sizes import network_size
from search.study.recipe import ImagesRecord, recipe_of
from search.study.trials import history, lowest, run_name, size_of
from storage.tables import Records

Figure = bool | int | float | str


def figures_of_trials(
    study: optuna.Study, records: Records, space: Space
) -> dict[int, dict[str, Figure]]:
    """What is known of the trials that have a finite loss, by number, best first.

    That are ``parameters``, ``operations`` (multiply-adds per image), ``latency`` (ms per image),
    ``val_loss``, ``val_accuracy`` and the monitored figure at the best epoch, and the
    hyperparameters. A figure that was not measured is left out.

    Args:
        study: The study.
        records: treino's tables.
        space: The study's space.
    """
    recipe = recipe_of(study)
    monitor = recipe.monitor
    trials = sorted(study.get_trials(deepcopy=False), key=lowest)
    figures: dict[int, dict[str, Figure]] = {}
    for trial in trials:
        if not math.isfinite(lowest(trial)):
            continue
        of_trial = figures[trial.number] = dict(trial.params)
        if size := trained_size(trial, space, recipe.images):
            of_trial["parameters"] = size.parameters
            measured = {"operations": size.operations, "latency": size.latency}
            of_trial |= {name: value for name, value in measured.items() if value}
        best = best_epoch(history(records, study.study_name, run_name(trial.number)), monitor)
        if best is not None:
            names = {"val_loss", "val_accuracy", *({monitor} & {*MAXIMISED})}
            of_trial |= {name: getattr(best, name) for name in names}
    return figures


def trained_size(trial: FrozenTrial, space: Space, images: ImagesRecord) -> NetworkSize | None:
    """The size of a trial's network: counted, or as stored when it was built; None if unknown."""
    model, _ = space.specs(trial.params)
    if isinstance(model, OwnSpec):
        return size_of(trial)
    counted = network_size(model, images.input_shape, len(images.classes))
    stored = size_of(trial)
    return counted if stored is None else replace(counted, latency=stored.latency)
