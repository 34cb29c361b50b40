"""What a command works in: the database, our tables, the files, and the study in question."""

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
# Settings that a search may be continued with others of; the report gives the commands again.
HOW_SEARCHED = (
    *("space", "augment", "precision", "early_stopping"),
    *("trials", "budget_epochs", "timeout", "workers", "sampler", "prior", "pruner"),
    *("documented", "max_params"),
)


@dataclass(frozen=True)
class Workspace:
    """An open database with all that goes with it."""

    storage: RDBStorage
    records: Records
    layout: Layout

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, write: bool) -> Iterator["Workspace"]:
        """Open the database that the settings name, for as long as the block lasts.

        Raises:
            StorageError: It cannot be opened, or, later in the block, does not answer; or the
                disk is full or a file may not be used.
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
        # In the order of their creation, those of other programs in the same database left out.
        rows = [row for row in studies.summaries(self.storage) if row.made_with]
        # The latest of equals: a study whose first trial did not start yet has only its place.
        newest = max(reversed(rows), key=lambda row: str(row.started or ""), default=None)
        return None if newest is None else studies.load(self.storage, newest.name)

    def study(self, name: str | None) -> optuna.Study:
        """The study of that name, or the one whose trials started last.

        Raises:
            StorageError: There is no study of that name.
            TreinoError: There is no study at all.
        """
        study = self.newest_study() if name is None else studies.load(self.storage, name)
        if study is None:
            raise TreinoError("there is no study yet: run `make search` first")
        if studies.MADE_WITH not in study.user_attrs:
            raise TreinoError(f"study {study.study_name!r} was not made by treino; name another")
        return study

    def as_studied(self, settings: Settings, data: Dataset) -> Dataset:
        """The images under the fingerprint that the studies in question know them by."""
        made = studies.made_studies(self.storage)
        names = made.keys() & {settings.study} if settings.study else made.keys()
        return as_made(data, {studies.fingerprint_of(made[name].made_with) for name in names})

    def study_name(self, settings: Settings, made: Mapping[str, str], ending: str = "") -> str:
        """The study that a search is about: the named one, or the one of these images.

        Args:
            settings: Of the search.
            made: What makes its trials comparable.
            ending: Of a name that the user did not give.

        Raises:
            SettingsError: The name is for something of treino's own.
        """
        if settings.study:
            return provisional_name(settings)
        return derived_name(settings.data, made, studies.made_studies(self.storage), ending)


def provisional_name(settings: Settings, ending: str = "") -> str:
    """The study's name as far as the settings tell: an earlier one of these images counts more.

    Raises:
        SettingsError: The name is for something of treino's own.
    """
    if settings.study == BASELINES:
        raise SettingsError(
            f"--study {BASELINES}: treino keeps its baselines there; use another name"
        )
    return settings.study or plain_name(settings.data, ending)


def as_made(data: Dataset, fingerprints: Collection[str]) -> Dataset:
    """The images under an earlier version's fingerprint, if studies know them by that alone."""
    before = [each for each in data.formerly if each in fingerprints]
    if data.fingerprint in fingerprints or not before:
        return data
    return replace(data, fingerprint=before[0])


def made_with(settings: Settings, data: Dataset, space: Space) -> dict[str, str]:
    """What makes trials comparable: a study is not continued with anything else."""
    # Left out where they are what they always were, so that older studies can be gone on with.
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
    """Where a study's images and code are, and the versions that made it: kept, never compared."""
    where = settings.data
    if where not in ("auto", *NAMES):  # a path is to be found again from another folder, too
        where = str(located(where).resolve())
    return {
        "data": where,
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
    """The images that a study was made with: from the cache, or decoded anew.

    Raises:
        DataError: They cannot be had any more.
        TreinoError: What is there now are other images.
    """
    with_: Mapping[str, str] = study.user_attrs[studies.MADE_WITH]
    # Where they were last comes first.
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
            f"the images of study {study.study_name!r} cannot be had: {error}; if they were "
            "moved, go on with the search from where they are now (--data) first"
        ) from error
    data = as_made(data, [studies.fingerprint_of(with_)])
    if data.fingerprint != studies.fingerprint_of(with_):
        raise TreinoError(
            f"study {study.study_name!r} was made with the images {with_['data']}, "
            f"but {by['data']} now holds {data.name} {data.fingerprint}"
        )
    return data


def is_of_cifar10(study: optuna.Study) -> bool:
    """Whether the documents' figures belong beside the study's: the classes are the same."""
    return are_of_cifar10(json.loads(study.user_attrs[studies.MADE_BY]["classes"]))


def space_of(study: optuna.Study) -> Space:
    """The space that a study was made with."""
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
