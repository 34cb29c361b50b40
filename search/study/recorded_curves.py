"""The learning curves of a study's trials, for replays and priors."""

import json
from collections import Counter
from collections.abc import Collection, Sequence

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import TreinoError
from search.scheduling.curves import DIGITS, LEAST, Curve, Curves
from search.scheduling.prior import is_enough
from search.spaces.builtin import Space
from search.spaces.records import described
from search.study.attributes import PRIOR_STUDIES, UNFIT
from search.study.opening import openings_of
from search.study.recipe import StudyRecipe, recipe_of
from search.study.trials import counted, run_name
from storage.errors import StorageError
from storage.study import load, summaries
from storage.tables import EpochRow, Records

MOST_STUDIES = 5  # each costs milliseconds per decision


def of_study(
    study: optuna.Study, records: Records, numbers: Collection[int] | None = None
) -> Curves | None:
    """The learning curves of the complete or diverged trials of a study; None if there are none.

    If trials differ in their parameters, those with the most frequent ones count.

    Args:
        study: The study.
        records: treino's tables.
        numbers: Numbers that an earlier call returned, to read the same again; None for all.
    """
    epochs = records.epochs_of_study(study.study_name)
    trials = study.get_trials(deepcopy=False)
    if numbers is None:
        trials = _alike([trial for trial in counted(trials) if _is_whole(trial)])
    else:
        trials = [trial for trial in trials if trial.number in numbers]
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


def of_other_studies(
    study: optuna.Study, storage: RDBStorage, records: Records, space: Space
) -> dict[str, Curves]:
    """Curves of other studies that a study's warm start learns from, by their names.

    The first search of a study takes the newest MOST_STUDIES that have enough curves of similar
    spaces. Later searches read the same trials again, so that they decide the same.

    Args:
        study: The study. Its attribute PRIOR_STUDIES is written if it has no trials yet.
        storage: Where the studies are.
        records: treino's tables.
        space: The study's search space.
    """
    stored = study.user_attrs.get(PRIOR_STUDIES)
    chosen = stored if isinstance(stored, dict) else {}
    if stored is None and not study.get_trials(deepcopy=False):
        chosen = dict.fromkeys(_others(study, storage))
    curves_of = {}
    for name, numbers in chosen.items():
        curves = _curves_of(name, storage, records, numbers)
        if curves is not None and is_enough(curves, space.distributions()):
            curves_of[name] = curves
        if len(curves_of) == MOST_STUDIES:
            break
    if stored is None and chosen:
        numbers_of = {name: [c.trial for c in curves_of[name].configurations] for name in curves_of}
        study.set_user_attr(PRIOR_STUDIES, numbers_of)
    return curves_of


def _others(study: optuna.Study, storage: RDBStorage) -> list[str]:
    """Names of the other studies that may have enough curves, the newest first."""
    rows = [row for row in summaries(storage) if StudyRecipe.stored_in(row.attributes)]
    rows.sort(key=lambda row: str(row.started or ""), reverse=True)
    ended = {row.name: sum(row.trials.get(s, 0) for s in ("COMPLETE", "PRUNED")) for row in rows}
    return [name for name in ended if name != study.study_name and ended[name] >= LEAST]


def _curves_of(
    name: str, storage: RDBStorage, records: Records, numbers: Collection[int] | None
) -> Curves | None:
    """Curves of a study; None if it has none, or is gone, or its trials differ in parameters."""
    try:
        return of_study(load(storage, name), records, numbers)
    except (StorageError, TreinoError, ValueError):
        return None


def _alike(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with the most frequent parameters."""
    kinds = Counter(frozenset(trial.params) for trial in trials)
    most = kinds.most_common(1)[0][0] if kinds else frozenset()
    return [trial for trial in trials if trial.params.keys() == most]


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
