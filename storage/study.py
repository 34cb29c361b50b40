"""Create, open and list Optuna studies."""

import sys
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import DateTime, String, cast, column, func, select, table

from storage.engine import explained, masked
from storage.errors import StorageError
from storage.files import checked_name
from storage.tables import Records

# Optuna's summary call loads every trial in full, which takes seconds for a long study.
_TRIALS = table(
    "trials",
    column("trial_id"),
    column("number"),
    column("study_id"),
    column("state", String),
    column("datetime_start", DateTime),  # naive UTC
)
# Optuna's API has no order of epochs across trials; its rows do.
_REPORTS = table(
    "trial_intermediate_values",
    column("trial_intermediate_value_id"),
    column("trial_id"),
    column("step"),
    column("intermediate_value"),
    column("intermediate_value_type", String),
)
_LOWEST = (
    select(_TRIALS.c.study_id, func.min(_REPORTS.c.intermediate_value))
    .join(_REPORTS, _REPORTS.c.trial_id == _TRIALS.c.trial_id)
    .where(
        # PostgreSQL has enumerations here.
        cast(_TRIALS.c.state, String) != "FAIL",
        cast(_REPORTS.c.intermediate_value_type, String) == "FINITE",
    )
    .group_by(_TRIALS.c.study_id)
)


@dataclass(frozen=True)
class StudySummaryRow:
    """Summary of a study.

    Attributes:
        name: Its name.
        trials: Number of trials by state name; states without trials are left out.
        best_value: The best value of a complete trial, of the first objective, if there is one
            and it was asked for.
        lowest_report: The lowest finite value that a trial reported and that has not failed, if
            there is one and it was asked for.
        attributes: Its user attributes.
        started: When its first trial started, if one did.
        last_started: When its newest trial did.
    """

    name: str
    trials: Mapping[str, int]
    best_value: float | None
    lowest_report: float | None
    attributes: Mapping[str, Any]
    started: datetime | None
    last_started: datetime | None


def open_or_create(
    storage: RDBStorage,
    name: str,
    attributes: Mapping[str, Any],
    is_complete: Callable[[Mapping[str, Any]], bool] | None = None,
    *,
    objectives: Sequence[str] = ("value",),
) -> tuple[optuna.Study, bool]:
    """Open the study ``name``, or create it, minimising one or more values.

    Acquire the study's lease first, so that no other process creates it at the same time. Creating
    a study removes rows of a deleted study with that name from treino's tables.

    Args:
        storage: Opened for writing.
        name: Name of the study.
        attributes: User attributes of a new study, written in this order.
        is_complete: Whether a study with these user attributes was created as a whole; by default,
            whether it has the last of ``attributes``.
        objectives: Names of the values that a new study minimises, as the dashboard shows them.

    Returns:
        The study, and whether it was created. A study without trials that is not complete, as an
        interrupted creation leaves it, counts as created now.

    Raises:
        StorageError: It does not minimise, is not treino's, or the name is invalid.
    """
    checked_name(name)
    last = list(attributes)[-1]
    complete = is_complete or (lambda existing: last in existing)
    with explained(storage.url):
        directions = [StudyDirection.MINIMIZE] * len(objectives)
        if name in _names(storage):
            study = optuna.load_study(study_name=name, storage=storage)
            if StudyDirection.MAXIMIZE in study.directions:
                raise StorageError(
                    f"study {name!r} does not minimise, as treino's do; name another STUDY="
                )
            if complete(study.user_attrs) or study.get_trials(deepcopy=False):
                return study, False
            if study.directions != directions:
                if not study.user_attrs.keys() <= attributes.keys():
                    raise StorageError(
                        f"study {name!r} is not one of treino's; name another STUDY="
                    )
                # Of an interrupted creation: there is nothing in it.
                optuna.delete_study(study_name=name, storage=storage)
        if name not in _names(storage):
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        Records(storage.engine).forget(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(list(objectives))
        for attribute, value in attributes.items():
            study.set_user_attr(attribute, value)
    return study, True


def spelling(storage: RDBStorage, name: str) -> str:
    """The name of the study called ``name``, or of one that looks the same; else ``name``.

    macOS and input methods compose accents in several ways, which look the same.
    """
    with explained(storage.url):
        names = _names(storage)
    if name in names:
        return name
    return next((other for other in names if _looks(other) == _looks(name)), name)


def _looks(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    # File systems of macOS do not distinguish them: two studies would share one folder.
    return composed.casefold() if sys.platform == "darwin" else composed


def load(storage: RDBStorage, name: str) -> optuna.Study:
    """Open the study ``name``, or one whose name looks the same, for reading.

    Raises:
        StorageError: There is none; the message lists the existing studies.
    """
    with explained(storage.url):
        name = spelling(storage, name)
        names = _names(storage)
        if name not in names:
            others = f"there are: {', '.join(sorted(names))}" if names else "there are none yet"
            raise StorageError(f"no study {name!r} in {masked(storage.url)}; {others}")
        return optuna.load_study(study_name=name, storage=storage)


def summaries(storage: RDBStorage, *, best_values: bool = False) -> list[StudySummaryRow]:
    """Summaries of the studies in ``storage``, in order of creation.

    Args:
        storage: The database.
        best_values: Whether to find the best values of each, which takes a query for each study.
    """
    start = _TRIALS.c.datetime_start
    query = select(
        _TRIALS.c.study_id, _TRIALS.c.state, func.count(), func.min(start), func.max(start)
    ).group_by(_TRIALS.c.study_id, _TRIALS.c.state)
    trials: dict[int, dict[str, int]] = defaultdict(dict)
    starts: dict[int, list[datetime]] = defaultdict(list)
    lowest: dict[int, float] = {}
    with explained(storage.url):
        with storage.engine.begin() as connection:
            for study_id, state, count, *ends in connection.execute(query):
                trials[study_id][state] = count
                starts[study_id] += [at.replace(tzinfo=timezone.utc) for at in ends if at]
            if best_values:
                lowest = {row[0]: row[1] for row in connection.execute(_LOWEST)}
        ids = {name: storage.get_study_id_from_name(name) for name in _names(storage)}
        return [
            StudySummaryRow(
                name=name,
                trials=trials[study_id],
                best_value=_best_value(storage, study_id) if best_values else None,
                lowest_report=lowest.get(study_id),
                attributes=storage.get_study_user_attrs(study_id),
                started=min(starts[study_id], default=None),
                last_started=max(starts[study_id], default=None),
            )
            for name, study_id in ids.items()
        ]


def reports(storage: RDBStorage, name: str) -> list[tuple[int, int]]:
    """Trial number and epoch of every report to a study, in order of time."""
    query = (
        select(_TRIALS.c.number, _REPORTS.c.step)
        .join(_REPORTS, _REPORTS.c.trial_id == _TRIALS.c.trial_id)
        .where(_TRIALS.c.study_id == storage.get_study_id_from_name(name))
        .order_by(_REPORTS.c.trial_intermediate_value_id)
    )
    with explained(storage.url), storage.engine.begin() as connection:
        return [(number, step) for number, step in connection.execute(query)]


def _names(storage: RDBStorage) -> list[str]:
    return optuna.get_all_study_names(storage)


def _best_value(storage: RDBStorage, study_id: int) -> float | None:
    if len(storage.get_study_directions(study_id)) > 1:
        complete = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        return min((trial.values[0] for trial in complete), default=None)
    try:
        return storage.get_best_trial(study_id).value
    except ValueError:  # no complete trial
        return None
