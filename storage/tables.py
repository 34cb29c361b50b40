"""treino's tables, beside Optuna's: epochs of all trainings, delivered models, leases.

Access the first two through `Records` only, the third through `storage.lease`. A change here
needs a migration (see `storage.migrations`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import cache
from typing import Annotated, Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Delete,
    Dialect,
    Double,
    Engine,
    String,
    Text,
    bindparam,
    delete,
    false,
    func,
    insert,
    inspect,
    null,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from storage.engine import explained
from storage.errors import StorageError
from storage.outages import Outages


class _Figure(TypeDecorator[float]):
    """A float that may be infinite or NaN. NaN is stored as NULL, as SQLite does."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        keeps_infinity = dialect.name in ("sqlite", "postgresql")
        if value is None or math.isnan(value) or (math.isinf(value) and not keeps_infinity):
            return None
        return value

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        return math.nan if value is None else value


class _UTC(TypeDecorator[datetime]):
    """A time with time zone, stored as naive UTC, which every database supports."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=timezone.utc)


Key = Annotated[str, mapped_column(primary_key=True)]
Figure = Annotated[float, mapped_column(_Figure, nullable=True)]
Watched = Annotated[float | None, mapped_column(Double)]  # NULL: not measured
Big = Annotated[int, mapped_column(BigInteger)]
Moment = Annotated[datetime, mapped_column(_UTC)]


class Tables(DeclarativeBase):
    """The base of treino's tables; its metadata does not include Optuna's."""

    type_annotation_map = {str: String(255)}  # noqa: RUF012 - SQLAlchemy's; MariaDB needs a length


class Epoch(Tables):
    """One epoch of one training."""

    __tablename__ = "treino_epochs"

    study: Mapped[Key]
    run: Mapped[Key]
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    loss: Mapped[Figure]
    accuracy: Mapped[Figure]
    val_loss: Mapped[Figure]
    val_accuracy: Mapped[Figure]
    penalised_loss: Mapped[Figure]
    penalised_val_loss: Mapped[Figure]
    learning_rate: Mapped[Figure]
    seconds: Mapped[Figure]
    val_macro_f1: Mapped[Watched]
    val_auc: Mapped[Watched]


class HandedOver(Tables):
    """One trained and tested model."""

    __tablename__ = "treino_models"

    study: Mapped[Key]
    run: Mapped[Key]
    kind: Mapped[str]
    title: Mapped[str]
    spec: Mapped[str] = mapped_column(Text)
    trial: Mapped[int | None]
    parameters: Mapped[Big]
    epochs: Mapped[int]
    best_epoch: Mapped[int]
    val_loss: Mapped[Figure]
    val_accuracy: Mapped[Figure]
    test_loss: Mapped[Figure]
    test_accuracy: Mapped[Figure]
    seconds: Mapped[Figure]
    seed: Mapped[Big]
    path: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str]
    created: Mapped[Moment]
    val_macro_f1: Mapped[Watched]
    val_auc: Mapped[Watched]


class Lease(Tables):
    """The process that may search a study; see `storage.lease`."""

    __tablename__ = "treino_leases"

    study: Mapped[Key]
    holder: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[float] = mapped_column(Double)
    acquired: Mapped[Moment]
    renewed: Mapped[Moment]


@dataclass(frozen=True)
class EpochRow:
    """The figures of one recorded epoch, named as in training.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Training loss, in nats, without the L2 penalty.
        accuracy: Share of training images classified correctly, 0 to 1.
        val_loss: Validation loss, in nats, without the penalty.
        val_accuracy: Share of validation images classified correctly, 0 to 1.
        penalised_loss: ``loss`` with the penalty.
        penalised_val_loss: ``val_loss`` with the penalty.
        learning_rate: The rate the epoch was trained with.
        seconds: Wall time of the epoch.
        val_macro_f1: Mean F1 score of the classes, 0 to 1; None if it was not measured.
        val_auc: Mean area under the ROC curve of the classes, 0 to 1; None likewise.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    penalised_loss: float
    penalised_val_loss: float
    learning_rate: float
    seconds: float
    val_macro_f1: float | None = None
    val_auc: float | None = None


@dataclass(frozen=True)
class ModelRow:
    """A trained and tested model: a retrained trial or a baseline.

    Kind ``pair`` is one of two paired trainings, and kind ``fold`` one of a trial's on several
    splits of the images: their models are neither kept nor tested, so ``path`` is empty and the
    test figures are NaN. Kind ``ensemble`` is a weighted average of retrained
    models: its epochs and seconds are the sums of its members', its best epoch and seed are 0.

    Attributes:
        study: The study it belongs to.
        run: The training that produced it; one model per run.
        kind: ``retrain``, ``baseline``, ``pair``, ``fold`` or ``ensemble``.
        title: Its name in tables.
        spec: What it was trained with, as JSON.
        trial: Number of the trial with its configuration, if there is one.
        parameters: Number of trainable and other weights.
        epochs: Number of trained epochs.
        best_epoch: The epoch whose weights were kept, from 1.
        val_loss: Validation loss of that epoch, in nats, without the L2 penalty.
        val_accuracy: Validation accuracy of that epoch, 0 to 1.
        test_loss: Loss on the test images, in nats, without the penalty.
        test_accuracy: Accuracy on the test images, 0 to 1.
        seconds: Wall time of the training.
        seed: The training's seed.
        path: Path of the model file.
        fingerprint: Fingerprint of its images.
        created: When it was delivered, with time zone.
        val_macro_f1: See EpochRow; of the best epoch.
        val_auc: Likewise.
    """

    study: str
    run: str
    kind: str
    title: str
    spec: str
    trial: int | None
    parameters: int
    epochs: int
    best_epoch: int
    val_loss: float
    val_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    seed: int
    path: str
    fingerprint: str
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    val_macro_f1: float | None = None
    val_auc: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")


T = TypeVar("T")
_OLD = "old_"  # prefix of a parameter, beside the column of its name
KINDS = ("retrain", "baseline", "pair", "fold", "ensemble")
_EPOCH_COLUMNS = tuple(field.name for field in fields(EpochRow))
_MEASURED_BY_ALL = {field.name for field in fields(EpochRow) if field.default is MISSING}
_MODEL_COLUMNS = tuple(field.name for field in fields(ModelRow))


class Records:
    """The recorded epochs and models, on the engine of a storage opened with `open_storage`.

    Each method is one transaction, and endures outages as the storage does. Database errors are
    raised as `StorageError`.

    Args:
        engine: The storage's engine.
        outages: The storage's; by default none are endured.
    """

    def __init__(self, engine: Engine, outages: Outages | None = None) -> None:
        self._engine = engine
        self._outages = outages or Outages()
        self._present: dict[type[Tables], set[str]] = {}  # columns in the database

    def record_epoch(
        self,
        study: str,
        run: str,
        figures: Mapping[str, float | None],
        connection: Connection | None = None,
    ) -> None:
        """Record an epoch of ``run``; replaces the same epoch if it was recorded before.

        Args:
            study: Name of the study.
            run: Name of the training.
            figures: A value for each attribute of `EpochRow` without a default, possibly NaN or
                infinite, and for others if they were measured.
            connection: Of a transaction to be part of; None for one of its own.

        Raises:
            StorageError: Figures are missing or unknown, or the database failed.
        """
        complete = _MEASURED_BY_ALL <= set(figures) <= set(_EPOCH_COLUMNS)
        if not complete or (figures["epoch"] or 0) < 1:
            raise StorageError(
                f"an epoch of {run} has the figures {', '.join(_EPOCH_COLUMNS)}, counted from 1, "
                f"not {dict(figures)}"
            )
        row = {"study": study, "run": run, **figures}
        if connection is not None:
            _replace(connection, Epoch, row)
        else:
            self._transact(lambda own: _replace(own, Epoch, row))

    def epochs(self, study: str, run: str) -> list[EpochRow]:
        """The recorded epochs of ``run``, in order; empty if it is unknown."""
        return self.epochs_of_study(study, run).get(run, [])

    def epochs_of_study(self, study: str, run: str | None = None) -> dict[str, list[EpochRow]]:
        """The recorded epochs per run of ``study``, in order; only of ``run`` if given."""
        columns = self._columns(Epoch, _EPOCH_COLUMNS)
        query = select(Epoch.run, *columns).where(Epoch.study == study)
        if run is not None:
            query = query.where(Epoch.run == run)

        def read(connection: Connection) -> dict[str, list[EpochRow]]:
            by_run: dict[str, list[EpochRow]] = {}
            for name, *values in connection.execute(query.order_by(Epoch.run, Epoch.epoch)):
                by_run.setdefault(name, []).append(EpochRow(*values))
            return by_run

        return self._transact(read)

    def count_epochs(self, study: str) -> dict[str, int]:
        """The number of recorded epochs per run of ``study``."""
        query = select(Epoch.run, func.count()).where(Epoch.study == study).group_by(Epoch.run)
        return self._transact(
            lambda connection: {run: int(count) for run, count in connection.execute(query)}
        )

    def record_model(self, model: ModelRow) -> None:
        """Record a model; replaces the one of the same run if there is one."""
        self._transact(lambda connection: _replace(connection, HandedOver, asdict(model)))

    def models(self, study: str | None = None) -> list[ModelRow]:
        """The recorded models, oldest first; only of ``study`` if given."""
        columns = self._columns(HandedOver, _MODEL_COLUMNS)
        query = select(*columns).order_by(HandedOver.created, HandedOver.run)
        if study is not None:
            query = query.where(HandedOver.study == study)
        return self._transact(
            lambda connection: [ModelRow(*values) for values in connection.execute(query)]
        )

    def forget(self, study: str, run: str | None = None) -> None:
        """Delete the recorded epochs and models of ``run``, or of the whole ``study``."""

        def forget(connection: Connection) -> None:
            for table in (Epoch, HandedOver):
                statement = delete(table).where(table.study == study)
                connection.execute(statement if run is None else statement.where(table.run == run))

        self._transact(forget)

    def _columns(self, table: type[Tables], names: Sequence[str]) -> list[ColumnElement[Any]]:
        """The columns of a table; NULL for those that an older treino's does not have yet.

        Whoever may only read cannot migrate it.
        """
        if table not in self._present:
            nothing = select(text("*")).select_from(table.__table__).where(false())
            self._present[table] = self._transact(
                lambda connection: set(connection.execute(nothing).keys())
            )
        there = self._present[table]
        return [getattr(table, name) if name in there else null() for name in names]

    def _transact(self, work: Callable[[Connection], T]) -> T:
        def attempt() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        with explained(str(self._engine.url)):
            return self._outages.endure(attempt)


def _replace(connection: Connection, table: type[Tables], row: Mapping[str, Any]) -> None:
    """Insert a row in place of the one with its key, in the SQL of every database."""
    connection.execute(_deletion(table), {f"{_OLD}{name}": value for name, value in row.items()})
    connection.execute(insert(table), dict(row))


@cache  # to build a statement takes as long as to execute it
def _deletion(table: type[Tables]) -> Delete:
    key = inspect(table).primary_key
    return delete(table).where(*(column == bindparam(f"{_OLD}{column.name}") for column in key))
