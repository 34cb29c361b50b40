"""The workspace of a command: database, treino's tables, files, and the study."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from data.catalog import NAMES
from data.catalog import load as load_data
from data.dataset import DataError, Dataset
from data.progress import Progress
from search.errors import SettingsError, TreinoError
from search.settings import Settings
from search.spaces.builtin import Space, make_space
from search.spaces.custom_ranges import OwnRanges
from search.spaces.hypermodel import OwnNetworks
from search.spaces.records import CodeRecord
from search.study.names import BASELINES, derived_name, existing_studies, plain_name
from search.study.opening import openings_of
from search.study.recipe import StudyRecipe, recipe_of
from storage import study as studies
from storage.engine import database_url, explained, open_storage
from storage.files import Layout, told_of_disk
from storage.patient import PatientStorage
from storage.tables import Records

VAR = Path("var")


@dataclass(frozen=True)
class Workspace:
    """An open database with treino's tables and files.

    Attributes:
        storage: Optuna's storage.
        records: Treino's tables.
        layout: Paths of the files.
        patience: Seconds for which trainings endure an outage of the database.
    """

    storage: PatientStorage
    records: Records
    layout: Layout
    patience: float = 0.0

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, write: bool) -> Iterator["Workspace"]:
        """Open the database of the settings for the duration of the block.

        Raises:
            StorageError: The database cannot be opened, or stops answering in the block; or the
                disk is full, or a file is not accessible.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(database_url(settings.storage), write=write)
        try:
            with explained(storage.url), told_of_disk():
                records = Records(storage.engine, storage.outages)
                yield cls(storage, records, Layout(VAR), settings.storage_patience)
        finally:
            storage.engine.dispose()

    def newest_study(self) -> optuna.Study | None:
        """The study whose trials started last; None if there is none."""
        # In order of creation, without studies of other programs in the same database.
        summaries = studies.summaries(self.storage)
        rows = [row for row in summaries if StudyRecipe.stored_in(row.attributes)]
        # On ties the last one: studies without a started trial are ordered only by creation.
        newest = max(reversed(rows), key=lambda row: str(row.last_started or ""), default=None)
        return None if newest is None else studies.load(self.storage, newest.name)

    def study(self, name: str | None) -> optuna.Study:
        """The named study, or the one whose trials started last.

        Raises:
            StorageError: There is no study with that name.
            TreinoError: There are no studies.
        """
        study = self.newest_study() if name is None else studies.load(self.storage, name)
        if study is None:
            raise TreinoError("there are no studies yet: run `make search` first")
        recipe_of(study)
        return study

    def as_studied(self, settings: Settings, data: Dataset) -> Dataset:
        """The images with the fingerprint under which the named, or any, study has them."""
        existing = existing_studies(self.storage)
        names = existing.keys() & {settings.study} if settings.study else existing.keys()
        return with_stored_fingerprint(data, {existing[name].fingerprint for name in names})

    def study_name(self, settings: Settings, recipe: StudyRecipe, ending: str = "") -> str:
        """Name of the study of a search: as set by the user, or derived from the images.

        Args:
            settings: Settings of the search.
            recipe: What its trials have in common.
            ending: Suffix of a derived name.

        Raises:
            SettingsError: The name is reserved.
        """
        if settings.study:
            return provisional_name(settings)
        return derived_name(settings.data, recipe, existing_studies(self.storage), ending)


def provisional_name(settings: Settings, ending: str = "") -> str:
    """The study's name from the settings alone; an existing study of the images has priority.

    Raises:
        SettingsError: The name is reserved.
    """
    if settings.study == BASELINES:
        raise SettingsError(
            f"--study {BASELINES}: reserved for treino's baselines; use another name"
        )
    return settings.study or plain_name(settings.data, ending)


def with_stored_fingerprint(data: Dataset, fingerprints: Collection[str]) -> Dataset:
    """The images with an earlier version's fingerprint, if studies have only that one."""
    before = [each for each in data.formerly if each in fingerprints]
    if data.fingerprint in fingerprints or not before:
        return data
    return replace(data, fingerprint=before[0])


def data_of(study: optuna.Study, progress: Progress) -> Dataset:
    """Load the images of a study, from the cache or decoded again.

    Raises:
        DataError: The images are not available.
        TreinoError: The images have changed.
    """
    recipe = recipe_of(study)
    made = recipe.images.fingerprint
    openings = openings_of(study)[::-1]  # the latest comes first
    for opening in openings:
        with suppress(DataError):
            data = Dataset.open(Path(opening.decoded))
            if data.fingerprint == made:
                return data
    there = [
        opening
        for opening in openings
        if opening.data in ("auto", *NAMES) or Path(opening.data).is_dir()
    ]
    opening = (there or openings)[0]
    try:
        data = load_data(
            opening.data,
            image_size=recipe.images.side,
            seed=recipe.seed,
            skip_bad_images=opening.skip_bad_images,
            images=opening.image_limit,
            progress=progress,
        ).dataset
    except DataError as error:
        raise DataError(
            f"images of study {study.study_name!r} are not available: {error}; if they were "
            "moved, first resume the search with their new path (--data)"
        ) from error
    data = with_stored_fingerprint(data, [made])
    if data.fingerprint != made:
        raise TreinoError(
            f"study {study.study_name!r} was made with the images {recipe.images}, "
            f"but {opening.data} now holds {data.name} {data.fingerprint}"
        )
    return data


def space_of(study: optuna.Study) -> Space:
    """The search space of a study."""
    recipe = recipe_of(study)
    record, training, side = recipe.space, recipe.training, recipe.images.side
    if isinstance(record, CodeRecord):
        code = openings_of(study)[-1].code
        return OwnNetworks(training, side, code=code, digest=record.digest, ranges=record.ranges)
    base = make_space(record.space, training, side)
    before = base.distributions()
    own = {name: new for name, new in record.distributions.items() if new != before.get(name)}
    return OwnRanges(training, side, base=base, own=own) if own else base
