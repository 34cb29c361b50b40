"""What holds over every database: SQLite, and PostgreSQL where its server is installed."""

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from sqlalchemy import text

from storage.engine import explained, open_storage
from storage.errors import StorageError
from storage.migrations import VERSION_TABLE, Standing, standing, upgrade
from storage.study import load, open_or_create, spelling, summaries
from storage.tables import ModelRow, Records, Tables
from tests.support.databases import ATTRIBUTES, FIGURES, opened
from tests.support.model_rows import ROW

pytest_plugins = ["tests.support.database_fixtures"]


def model(run: str = "best-1", **changes: Any) -> ModelRow:
    """A row with numbers beyond 32 bits."""
    made = {"study": "cifar", "run": run, "parameters": 2**40, "seed": 2**32 - 1, **changes}
    return replace(ROW, **made)


class TestOpening:
    def test_a_reader_needs_a_search_first(self, url: str) -> None:
        with pytest.raises(StorageError, match="run `make search` first"):
            open_storage(url, write=False)

    def test_a_reader_reads_and_cannot_write(self, url: str) -> None:
        with opened(url) as storage:
            open_or_create(storage, "cifar", ATTRIBUTES)
        with opened(url, write=False) as storage:
            assert load(storage, "cifar").user_attrs == ATTRIBUTES
            assert Records(storage.engine).epochs_of_study("cifar") == {}
            with pytest.raises(StorageError):
                Records(storage.engine).record_epoch("cifar", "run", FIGURES)
            with pytest.raises(StorageError), explained(storage.url):
                optuna.create_study(storage=storage)

    def test_the_migrations_make_what_the_models_say(self, storage: RDBStorage) -> None:
        with storage.engine.begin() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table": VERSION_TABLE,
                    "include_name": lambda name, kind, _: kind != "table" or "treino" in name,
                    "compare_server_default": True,
                },
            )
            assert compare_metadata(context, Tables.metadata) == []
            assert standing(connection) is Standing.NEWEST

    def test_rows_of_the_first_tables_are_kept(self, url: str) -> None:
        with opened(url) as storage:
            study, _ = open_or_create(storage, "cifar", ATTRIBUTES)
            study.tell(study.ask(), 0.5)
            with storage.engine.begin() as connection:
                for table in (*Tables.metadata.tables, VERSION_TABLE):
                    connection.execute(text(f"DROP TABLE {table}"))
            upgrade(storage.engine, "0001")
            with storage.engine.begin() as connection:
                connection.execute(
                    text(
                        "INSERT INTO treino_epochs (study, run, epoch, val_loss) "
                        "VALUES ('cifar', 'trial-00000', 1, 1.5)"
                    )
                )
        for write in (False, True):  # a reader does without what the first tables lack
            with opened(url, write=write) as storage:
                (row,) = Records(storage.engine).epochs("cifar", "trial-00000")
                assert (row.epoch, row.val_loss, row.val_auc) == (1, 1.5, None)
                assert Records(storage.engine).models() == []
                assert load(storage, "cifar").best_value == 0.5

    def test_opening_again_changes_nothing(self, url: str) -> None:
        for _ in range(2):
            with opened(url) as storage:
                assert optuna.get_all_study_names(storage) == []


class TestRecords:
    def test_epochs_come_back_in_order(self, records: Records) -> None:
        for epoch in (2, 1, 10):
            records.record_epoch("cifar", "a", {**FIGURES, "epoch": epoch})
        records.record_epoch("cifar", "b", FIGURES)
        records.record_epoch("other", "a", FIGURES)

        assert [row.epoch for row in records.epochs("cifar", "a")] == [1, 2, 10]
        assert {run: len(rows) for run, rows in records.epochs_of_study("cifar").items()} == {
            "a": 3,
            "b": 1,
        }
        assert records.epochs("cifar", "c") == []
        assert records.epochs_of_study("nobody's") == {}

    def test_the_same_epoch_again_replaces(self, records: Records) -> None:
        records.record_epoch("cifar", "a", FIGURES)
        records.record_epoch("cifar", "a", {**FIGURES, "val_loss": 7.0})
        (row,) = records.epochs("cifar", "a")
        assert vars(row) == {**FIGURES, "val_loss": 7.0, "val_macro_f1": None, "val_auc": None}

    def test_figures_that_only_some_trainings_watch_are_kept(self, records: Records) -> None:
        records.record_epoch("cifar", "a", {**FIGURES, "val_macro_f1": 0.75, "val_auc": None})
        (row,) = records.epochs("cifar", "a")
        assert (row.val_macro_f1, row.val_auc) == (0.75, None)
        records.record_model(model(val_auc=0.875))
        (made,) = records.models("cifar")
        assert (made.val_macro_f1, made.val_auc) == (None, 0.875)

    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(value=st.floats())
    def test_every_float_survives(self, records: Records, value: float) -> None:
        figures = {**dict.fromkeys(FIGURES, value), "epoch": 1}
        records.record_epoch("cifar", "a", figures)
        (row,) = records.epochs("cifar", "a")
        for name, wanted in figures.items():
            found = getattr(row, name)
            assert found == wanted or (math.isnan(found) and math.isnan(wanted))

    @pytest.mark.parametrize(
        "figures",
        [{}, {"epoch": 1}, {**FIGURES, "f1": 0.5}, {**FIGURES, "epoch": 0}],
    )
    def test_other_figures_are_refused(self, records: Records, figures: dict[str, float]) -> None:
        with pytest.raises(StorageError, match="an epoch of a has the figures epoch, loss"):
            records.record_epoch("cifar", "a", figures)

    def test_models_come_back_oldest_first(self, records: Records) -> None:
        now = datetime(2026, 11, 24, 10, 15, 0, 250000, tzinfo=timezone(timedelta(hours=-3)))
        new = model("best-1", created=now, test_loss=math.nan, trial=None)
        old = model("run-10", kind="baseline", created=now - timedelta(days=1))
        other = model("best-1", study="other", created=now)
        for row in (new, old, other):
            records.record_model(row)

        found = records.models("cifar")
        assert [row.run for row in found] == ["run-10", "best-1"]
        assert found[0] == old
        assert math.isnan(found[1].test_loss)
        assert replace(found[1], test_loss=0.0) == replace(new, test_loss=0.0)
        assert found[1].created.utcoffset() == timedelta(0)
        assert len(records.models()) == 3

    def test_the_same_model_again_replaces(self, records: Records) -> None:
        records.record_model(model(title="first"))
        records.record_model(model(title="second"))
        assert [row.title for row in records.models()] == ["second"]

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match="retrain, baseline, pair, fold, ensemble, not 'other'"
        ):
            model(kind="other")

    def test_a_run_or_a_study_is_forgotten(self, records: Records) -> None:
        for study in ("cifar", "other"):
            for run in ("a", "b"):
                records.record_epoch(study, run, FIGURES)
                records.record_model(model(run, study=study))

        records.forget("cifar", "a")
        assert list(records.epochs_of_study("cifar")) == ["b"]
        assert [row.run for row in records.models("cifar")] == ["b"]
        records.forget("cifar")
        assert records.epochs_of_study("cifar") == {}
        assert records.models("cifar") == []
        assert list(records.epochs_of_study("other")) == ["a", "b"]
        assert len(records.models("other")) == 2


class TestStudies:
    def test_a_new_study_has_its_attributes(self, storage: RDBStorage) -> None:
        study, created = open_or_create(storage, "cifar", ATTRIBUTES)
        assert created
        assert study.direction is optuna.study.StudyDirection.MINIMIZE
        assert study.user_attrs == ATTRIBUTES

        again, created = open_or_create(storage, "cifar", {"recipe": "another"})
        assert not created
        assert again.user_attrs == ATTRIBUTES, "what differs is for others to compare"

    def test_other_peoples_studies_are_refused(self, storage: RDBStorage) -> None:
        optuna.create_study(storage=storage, study_name="up", direction="maximize")
        two = optuna.create_study(storage=storage, study_name="two", directions=["minimize"] * 2)
        two.set_user_attr("owner", "somebody else")
        theirs = optuna.create_study(storage=storage, study_name="theirs")
        theirs.tell(theirs.ask(), 0.5)
        with pytest.raises(StorageError, match="'up' does not minimise"):
            open_or_create(storage, "up", ATTRIBUTES)
        with pytest.raises(StorageError, match="'two' is not one of treino's"):
            open_or_create(storage, "two", ATTRIBUTES)
        assert open_or_create(storage, "theirs", ATTRIBUTES)[1] is False

    def test_an_interrupted_creation_is_finished(self, storage: RDBStorage) -> None:
        optuna.create_study(storage=storage, study_name="cifar")
        study, created = open_or_create(storage, "cifar", ATTRIBUTES)
        assert created
        assert study.user_attrs == ATTRIBUTES

    def test_a_new_study_has_nothing_of_a_deleted_one(
        self, storage: RDBStorage, records: Records
    ) -> None:
        open_or_create(storage, "cifar", ATTRIBUTES)
        for study in ("cifar", "other"):
            records.record_epoch(study, "trial-00000", FIGURES)
            records.record_model(model(study=study))
        open_or_create(storage, "cifar", ATTRIBUTES)
        assert len(records.epochs("cifar", "trial-00000")) == 1, "opened, not created"

        optuna.delete_study(study_name="cifar", storage=storage)
        open_or_create(storage, "cifar", ATTRIBUTES)
        assert records.epochs_of_study("cifar") == {}
        assert records.models("cifar") == []
        assert len(records.epochs("other", "trial-00000")) == 1

    def test_a_name_that_can_name_no_folder_is_refused(self, storage: RDBStorage) -> None:
        with pytest.raises(StorageError, match="not a valid folder name"):
            open_or_create(storage, "../up", ATTRIBUTES)
        assert optuna.get_all_study_names(storage) == []

    def test_an_unknown_study_is_told_with_those_there_are(self, storage: RDBStorage) -> None:
        with pytest.raises(StorageError, match=r"no study 'x' in .*; there are none yet"):
            load(storage, "x")
        for name in ("b", "a"):
            open_or_create(storage, name, ATTRIBUTES)
        with pytest.raises(StorageError, match=r"no study 'x' in .*; there are: a, b"):
            load(storage, "x")
        assert load(storage, "a").study_name == "a"

    def test_a_name_that_looks_the_same_is_the_same_study(self, storage: RDBStorage) -> None:
        composed, apart = "a\u00e7u\u0301car", "ac\u0327\u00facar"
        open_or_create(storage, composed, ATTRIBUTES)
        assert spelling(storage, apart) == composed
        assert load(storage, apart).study_name == composed
        open_or_create(storage, apart, ATTRIBUTES)  # as an older treino did
        assert spelling(storage, apart) == apart
        assert spelling(storage, "another") == "another"

    def test_summaries(self, storage: RDBStorage) -> None:
        assert summaries(storage) == []
        study, _ = open_or_create(storage, "z first", ATTRIBUTES)
        before = datetime.now(timezone.utc)
        for value in (0.5, 0.25, 0.75):
            study.tell(study.ask(), value)
        study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
        failed, running = study.ask(), study.ask()
        failed.report(0.01, 1)
        study.tell(failed, state=optuna.trial.TrialState.FAIL)
        for epoch, value in enumerate((math.inf, 0.2, 0.3, math.nan), 1):
            running.report(value, epoch)
        study.enqueue_trial({"x": 1})
        optuna.create_study(storage=storage, study_name="theirs", directions=["minimize"] * 2)

        ours, theirs = summaries(storage, best_values=True)
        assert ours.name == "z first"
        assert ours.trials == {"COMPLETE": 3, "PRUNED": 1, "FAIL": 1, "RUNNING": 1, "WAITING": 1}
        assert (ours.best_value, ours.lowest_report) == (0.25, 0.2)
        assert ours.attributes == ATTRIBUTES
        assert ours.started is not None
        assert before <= ours.started <= datetime.now(timezone.utc)
        assert (theirs.trials, theirs.best_value, theirs.attributes, theirs.started) == (
            {},
            None,
            {},
            None,
        )
