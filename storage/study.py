"""Open and list Optuna studies, with what they were made with.

Trials with other data, another space or another number of epochs cannot be compared. So a study
stores what it was made with and refuses anything else.
"""

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import DateTime, String, column, func, select, table

from storage.engine import explained, masked
from storage.errors import StorageError
from storage.files import checked_name
from storage.tables import Records

MADE_WITH = "made_with"
"""The study's user attribute with what its trials have in common."""

MADE_BY = "made_by"
"""The user attribute with versions and the like at the study's creation; informative."""

CONTINUED_BY = "continued_by"
"""The user attribute with the list of such values at later openings."""

_SHOWN = 80

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
)


@dataclass(frozen=True)
class StudySummaryRow:
    """Summary of a study.

    Attributes:
        name: Its name.
        trials: Number of trials by state name; states without trials are left out.
        best_value: The lowest value of a complete trial, if there is one.
        made_with: What it was made with; empty if treino did not make it.
        started: When its first trial started, if one did.
    """

    name: str
    trials: Mapping[str, int]
    best_value: float | None
    made_with: Mapping[str, str]
    started: datetime | None


@dataclass(frozen=True)
class MadeStudy:
    """What an existing study was made with.

    Attributes:
        made_with: What its trials have in common; empty if treino did not make it.
        places: Paths of its images, one for each path it was opened with.
        empty: Whether its creation was interrupted: it has neither ``made_with`` nor trials.
        derived: Whether its name is known to be derived from such a path, not given.
    """

    made_with: Mapping[str, str]
    places: tuple[str, ...]
    empty: bool
    derived: bool = False

    def comparable_with(self, made_with: Mapping[str, str]) -> bool:
        """Whether trials made with ``made_with`` are comparable with its own."""
        return bool(self.made_with) and not _differing(self.made_with, made_with)


def made_studies(storage: RDBStorage) -> dict[str, MadeStudy]:
    """The studies in ``storage`` by name, in order of creation."""
    studies = {}
    with explained(storage.url):
        for name in _names(storage):
            study_id = storage.get_study_id_from_name(name)
            attributes = storage.get_study_user_attrs(study_id)
            made_with = attributes.get(MADE_WITH, {})
            empty = not made_with and storage.get_n_trials(study_id) == 0
            continued = attributes.get(CONTINUED_BY, [])
            made_by = [
                attributes.get(MADE_BY, {}),
                *(continued if isinstance(continued, list) else []),
            ]
            # Studies of other programs may have attributes with these names.
            made_by = [by for by in made_by if isinstance(by, dict)]
            studies[name] = MadeStudy(
                made_with=made_with if isinstance(made_with, dict) else {},
                places=tuple(str(by["data"]) for by in made_by if by.get("data")),
                derived=any(by.get("named") == "derived" for by in made_by),
                empty=empty,
            )
    return studies


def fingerprint_of(made_with: Mapping[str, str]) -> str:
    """The fingerprint of the images of a study; the name before it is for display."""
    return str(made_with.get("data", "")).rpartition(" ")[2]


def create_or_check(
    storage: RDBStorage,
    name: str,
    made_with: Mapping[str, str],
    informative: Mapping[str, str] | None = None,
) -> tuple[optuna.Study, bool]:
    """Open the study ``name``, or create it, minimising one value.

    Acquire the study's lease first, so that no other process creates it at the same time. Creating
    a study removes rows of a deleted study with that name from treino's tables.

    Args:
        storage: Opened for writing.
        name: Name of the study.
        made_with: What makes its trials comparable, by display label: data, space, monitor.
        informative: What may differ between openings: versions, the git SHA. Stored with the
            study whenever it differs.

    Returns:
        The study, and whether it was created. A study without trials and without ``made_with``, as
        an interrupted creation leaves it, counts as created now.

    Raises:
        StorageError: It was made with something else, or not by treino, or the name is invalid.
    """
    checked_name(name)
    informative = dict(informative or {})
    with explained(storage.url):
        new = name not in _names(storage)
        if new:
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        else:
            study = optuna.load_study(study_name=name, storage=storage)
            if study.directions != [StudyDirection.MINIMIZE]:
                raise StorageError(
                    f"study {name!r} does not minimise one value, as treino's do; "
                    "name another STUDY="
                )
            new = MADE_WITH not in study.user_attrs and not study.get_trials(deepcopy=False)
        if new:
            Records(storage.engine).forget(name)
            study.set_user_attr(MADE_WITH, dict(made_with))
            study.set_user_attr(MADE_BY, informative)
        else:
            _check(name, study.user_attrs.get(MADE_WITH), made_with)
            past = study.user_attrs.get(CONTINUED_BY, [])
            if informative and informative not in (study.user_attrs.get(MADE_BY), *past):
                study.set_user_attr(CONTINUED_BY, [*past, informative])
    return study, new


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


def summaries(storage: RDBStorage) -> list[StudySummaryRow]:
    """Summaries of the studies in ``storage``, in order of creation."""
    query = select(
        _TRIALS.c.study_id, _TRIALS.c.state, func.count(), func.min(_TRIALS.c.datetime_start)
    ).group_by(_TRIALS.c.study_id, _TRIALS.c.state)
    trials: dict[int, dict[str, int]] = defaultdict(dict)
    starts: dict[int, list[datetime]] = defaultdict(list)
    with explained(storage.url):
        with storage.engine.begin() as connection:
            for study_id, state, count, start in connection.execute(query):
                trials[study_id][state] = count
                if start is not None:
                    starts[study_id].append(start.replace(tzinfo=timezone.utc))
        ids = {name: storage.get_study_id_from_name(name) for name in _names(storage)}
        return [
            StudySummaryRow(
                name=name,
                trials=trials[study_id],
                best_value=_best_value(storage, study_id),
                made_with=storage.get_study_user_attrs(study_id).get(MADE_WITH, {}),
                started=min(starts[study_id], default=None),
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
    try:
        return storage.get_best_trial(study_id).value
    except (ValueError, RuntimeError):  # no complete trial, or several objectives
        return None


def _check(name: str, before: object, now: Mapping[str, str]) -> None:
    if not isinstance(before, dict):
        raise StorageError(
            f"study {name!r} was not made by treino (it has no {MADE_WITH!r}); name another STUDY="
        )
    differing = _differing(before, now)
    if differing:
        raise StorageError(
            f"study {name!r} was made with {'; '.join(differing)}: its trials would not be "
            "comparable; name another STUDY=, or use the old values"
        )


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The differing labels with both values; the name of the images is ignored."""
    return [
        f"{label} {_excerpts(before.get(label, '(none)'), now.get(label, '(none)'))}"
        for label in sorted(before.keys() | now.keys())
        if before.get(label) != now.get(label)
        and (label != "data" or fingerprint_of(before) != fingerprint_of(now))
    ]


def _excerpts(before: str, now: str) -> str:
    """Both values, long ones shortened to where they start to differ."""
    same = next(
        (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b),
        min(len(before), len(now)),
    )
    start = max(0, same - 20) if max(len(before), len(now)) > _SHOWN else 0
    return ", not ".join(_excerpt(value, start) for value in (before, now))


def _excerpt(value: str, start: int) -> str:
    end = start + _SHOWN
    return f"{'…' if start else ''}{value[start:end]}{'…' if value[end:] else ''}"
