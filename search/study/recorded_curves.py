"""The learning curves of a study's trials, for replays and priors."""

import json
from collections.abc import Sequence

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from search.scheduling.curves import DIGITS, Curve, Curves
from search.spaces.records import described
from search.study.attributes import UNFIT
from search.study.opening import openings_of
from search.study.recipe import recipe_of
from search.study.trials import counted, run_name
from storage.tables import EpochRow, Records


def of_study(study: optuna.Study, records: Records) -> Curves | None:
    """The learning curves of the complete or diverged trials of a study; None if there are none."""
    epochs = records.epochs_of_study(study.study_name)
    trials = [trial for trial in counted(study.get_trials(deepcopy=False)) if _is_whole(trial)]
    if not trials:
        return None
    recipe = recipe_of(study)
    trained_by = openings_of(study)[0].versions
    return Curves(
        data=str(recipe.images),
        space=described(recipe.space),
        epochs=recipe.training.epochs,
        seed=recipe.seed,
        versions=dict(sorted(trained_by.items())),
        distributions={
            name: json.loads(distribution_to_json(distribution))
            for name, distribution in trials[0].distributions.items()
        },
        configurations=tuple(
            _curve(trial, epochs.get(run_name(trial.number), ())) for trial in trials
        ),
    )


def _is_whole(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE or UNFIT in trial.user_attrs


def _curve(trial: FrozenTrial, epochs: Sequence[EpochRow]) -> Curve:
    return Curve(
        trial=trial.number,
        params=trial.params,
        val_loss=tuple(round(row.val_loss, DIGITS) for row in epochs),
        val_accuracy=tuple(round(row.val_accuracy, DIGITS) for row in epochs),
        diverged=UNFIT in trial.user_attrs,
    )
