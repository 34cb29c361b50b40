"""The workspace of a command: database, treino's tables, files, and the study."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from data.catalog import NAMES, located
from data.catalog import load as load_data
from data.dataset import DataError, Dataset
from data.progress import Progress
from models.documented import are_of_cifar10
from search.errors import SettingsError, TreinoError
from search.settings import Settings
from search.spaces.builtin import Space, make_space
from search.spaces.hypermodel import OwnNetworks
from search.study.names import BASELINES, derived_name, plain_name
from search.study.provenance import versions
from storage import study as studies
from storage.engine import database_url, explained, open_storage
from storage.files import Layout, told_of_disk
from storage.tables import Records

VAR = Path("var")
# Settings that may change when a study is resumed. The report shows them as commands.
HOW_SEARCHED = (
    *("space", "augment", "precision", "early_stopping"),
    *("trials", "budget_epochs", "timeout", "workers", "sampler", "prior", "pruner"),
    *("documented", "max_params"),
)


@dataclass(frozen=True)
class Workspace:
    """An open database with treino's tables and files."""

    storage: RDBStorage
    records: Records
    layout: Layout

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
                yield cls(storage, Records(storage.engine), Layout(VAR))
        finally:
            storage.engine.dispose()

    def newest_study(self) -> optuna.Study | None:
        """The study whose trials started last; None if there is none."""
        # In order of creation, without studies of other programs in the same database.
        rows = [row for row in studies.summaries(self.storage) if row.made_with]
        # On ties the last one: studies without a started trial are ordered only by creation.
        newest = max(reversed(rows), key=lambda row: str(row.started or ""), default=None)
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
        if studies.MADE_WITH not in study.user_attrs:
            raise TreinoError(f"study {study.study_name!r} was not made by treino; use another")
        return study

    def as_studied(self, settings: Settings, data: Dataset) -> Dataset:
        """The images with the fingerprint under which the named, or any, study has them."""
        existing = studies.made_studies(self.storage)
        names = existing.keys() & {settings.study} if settings.study else existing.keys()
        return as_made(data, {studies.fingerprint_of(existing[name].made_with) for name in names})

    def study_name(self, settings: Settings, made: Mapping[str, str], ending: str = "") -> str:
        """Name of the study of a search: as set by the user, or derived from the images.

        Args:
            settings: Settings of the search.
            made: What makes the trials comparable.
            ending: Suffix of a derived name.

        Raises:
            SettingsError: The name is reserved.
        """
        if settings.study:
            return provisional_name(settings)
        return derived_name(settings.data, made, studies.made_studies(self.storage), ending)


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


def as_made(data: Dataset, fingerprints: Collection[str]) -> Dataset:
    """The images with an earlier version's fingerprint, if studies have only that one."""
    before = [each for each in data.formerly if each in fingerprints]
    if data.fingerprint in fingerprints or not before:
        return data
    return replace(data, fingerprint=before[0])


def made_with(settings: Settings, data: Dataset, space: Space) -> dict[str, str]:
    """What makes trials comparable. A study cannot be resumed with other values."""
    # Default values are left out, so that older studies can be resumed.
    rare = {"augment": "yes"} if space.augment else {}
    if space.precision != "float32":
        rare["precision"] = space.precision
    if not space.early_stopping:
        rare["early stopping"] = "no"
    return {
        **rare,
        "data": f"{data.name} {data.fingerprint}",
        "space": space.describe(),
        "epochs": str(settings.epochs),
        "monitor": settings.monitor,
        "seed": str(settings.seed),
    }


def made_by(settings: Settings, data: Dataset, space: Space) -> dict[str, str]:
    """Location of images and code, settings and versions. Stored, but never compared."""
    source = settings.data
    if source not in ("auto", *NAMES):  # absolute, so that it is found from other folders, too
        source = str(located(source).resolve())
    return {
        "data": source,
        "named": "given" if settings.study else "derived",
        "decoded": str(data.path),
        "image_size": str(settings.image_size),
        "skip_bad_images": str(settings.skip_bad_images),
        "images": str(settings.images or ""),
        "code": space.code if isinstance(space, OwnNetworks) else "",
        "classes": json.dumps(data.classes, ensure_ascii=False),
        **{name: str(getattr(settings, name)) for name in HOW_SEARCHED},
        **versions(),
    }


def data_of(study: optuna.Study, progress: Progress) -> Dataset:
    """Load the images of a study, from the cache or decoded again.

    Raises:
        DataError: The images are not available.
        TreinoError: The images have changed.
    """
    with_: Mapping[str, str] = study.user_attrs[studies.MADE_WITH]
    # The latest location comes first.
    places = [study.user_attrs[studies.MADE_BY], *study.user_attrs.get(studies.CONTINUED_BY, [])]
    places.reverse()
    for by in places:
        with suppress(DataError):
            data = Dataset.open(Path(by["decoded"]))
            if data.fingerprint == studies.fingerprint_of(with_):
                return data
    there = [by for by in places if by["data"] in ("auto", *NAMES) or Path(by["data"]).is_dir()]
    by = (there or places)[0]
    try:
        data = load_data(
            by["data"],
            image_size=int(by["image_size"]),
            seed=int(with_["seed"]),
            skip_bad_images=by["skip_bad_images"] == "True",
            images=int(by["images"]) if by.get("images") else None,
            progress=progress,
        ).dataset
    except DataError as error:
        raise DataError(
            f"images of study {study.study_name!r} are not available: {error}; if they were "
            "moved, first resume the search with their new path (--data)"
        ) from error
    data = as_made(data, [studies.fingerprint_of(with_)])
    if data.fingerprint != studies.fingerprint_of(with_):
        raise TreinoError(
            f"study {study.study_name!r} was made with the images {with_['data']}, "
            f"but {by['data']} now holds {data.name} {data.fingerprint}"
        )
    return data


def is_of_cifar10(study: optuna.Study) -> bool:
    """Whether the study has the classes of CIFAR-10, as the documents' figures do."""
    return are_of_cifar10(json.loads(study.user_attrs[studies.MADE_BY]["classes"]))


def space_of(study: optuna.Study) -> Space:
    """The search space of a study."""
    with_: Mapping[str, str] = study.user_attrs[studies.MADE_WITH]
    by = [study.user_attrs[studies.MADE_BY], *study.user_attrs.get(studies.CONTINUED_BY, [])][-1]
    name, _, order = with_["space"].partition(":")[0].partition(", ")
    common: dict[str, Any] = {
        "epochs": int(with_["epochs"]),
        "image_side": int(by["image_size"]),
        "train_order": order,
        "augment": "augment" in with_,
        "precision": with_.get("precision", "float32"),
        "early_stopping": "early stopping" not in with_,
    }
    if by.get("code"):
        return OwnNetworks.from_text(with_["space"], by["code"], **common)
    return make_space(name, **common)
