"""What holds over every database: SQLite, and PostgreSQL where its server is installed."""

import math
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from sqlalchemy import MetaData, create_engine, text, update
from sqlalchemy.orm import Session

from storage.engine import explained, open_storage
from storage.errors import StorageError
from storage.lease import LeaseHeld, StudyLease
from storage.migrations import VERSION_TABLE, Standing, standing, upgrade
from storage.study import create_or_check, load, spelling, summaries
from storage.tables import Lease, ModelRow, Records, Tables

FIGURES = {
    "epoch": 1,
    "loss": 2.0,
    "accuracy": 0.25,
    "val_loss": 1.5,
    "val_accuracy": 0.5,
    "penalised_loss": 2.5,
    "penalised_val_loss": 1.75,
    "learning_rate": 0.001,
    "seconds": 12.0,
}
MADE_WITH = {"data": "cifar10 5f1e", "monitor": "val_loss", "epochs": "30"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The folder of the socket of a throw-away PostgreSQL server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not (found or shutil.which("pg_ctl")):
        pytest.skip("PostgreSQL's server is not installed")
    programs = (found[-1] if found else Path(shutil.which("pg_ctl") or "")).parent
    folder = Path(tempfile.mkdtemp(prefix="treino-pg-"))
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    group = pwd.getpwnam(user).pw_gid
    shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", folder / "data", *arguments],
            cwd=folder,
            user=user if os.geteuid() == 0 else None,
            group=group if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            check=True,
        )

    run("initdb", "--username=treino", "--auth=trust", "--encoding=UTF8", "--no-locale", "-N")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-w", "-s", "-l", str(folder / "log"), "-o", options, "start")
    yield str(folder)
    run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        request.getfixturevalue("server")
    return str(request.param)


@pytest.fixture
def url(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    """The URL of a database that is not there yet, or holds nothing."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'treino.db'}"
    return server_database(request.getfixturevalue("server"), "fresh")


def server_database(host: str, name: str) -> str:
    engine = create_engine(f"postgresql+psycopg://treino@/postgres?host={host}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"postgresql://treino@/{name}?host={host}"


@contextmanager
def opened(url: str, *, write: bool = True) -> Iterator[RDBStorage]:
    storage = open_storage(url, write=write)
    try:
        yield storage
    finally:
        storage.engine.dispose()


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RDBStorage]:
    if kind == "sqlite":
        url = str(tmp_path_factory.mktemp("shared") / "treino.db")
    else:
        url = server_database(request.getfixturevalue("server"), "shared")
    with opened(url) as storage:
        yield storage


@pytest.fixture
def storage(shared: RDBStorage) -> RDBStorage:
    """A storage without a row: made once and emptied for each test, which is quicker."""
    tables = MetaData()
    tables.reflect(shared.engine)
    with shared.engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            if "version" not in table.name:
                connection.execute(table.delete())
    return shared


@pytest.fixture
def elsewhere(storage: RDBStorage) -> Iterator[RDBStorage]:
    """The same database, as another process has it open."""
    with opened(storage.url) as other:
        yield other


@pytest.fixture
def records(storage: RDBStorage) -> Records:
    return Records(storage.engine)


def model(run: str = "best-1", **changes: object) -> ModelRow:
    row = ModelRow(
        study="cifar",
        run=run,
        kind="retrain",
        title="the best",
        spec='{"filters": 32}',
        trial=12,
        parameters=2**40,
        epochs=30,
        best_epoch=21,
        val_loss=0.5,
        val_accuracy=0.84,
        test_loss=0.6,
        test_accuracy=0.83,
        seconds=100.5,
        seed=2**32 - 1,
        path="cifar/best/model.keras",
        fingerprint="5f1e",
    )
    return replace(row, **changes)


class TestOpening:
    def test_a_reader_needs_a_search_first(self, url: str) -> None:
        with pytest.raises(StorageError, match="run `make search` first"):
            open_storage(url, write=False)

    def test_a_reader_reads_and_cannot_write(self, url: str) -> None:
        with opened(url) as storage:
            create_or_check(storage, "cifar", MADE_WITH)
        with opened(url, write=False) as storage:
            assert load(storage, "cifar").user_attrs["made_with"] == MADE_WITH
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
            study, _ = create_or_check(storage, "cifar", MADE_WITH)
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
        with opened(url) as storage:
            (row,) = Records(storage.engine).epochs("cifar", "trial-00000")
            assert (row.epoch, row.val_loss) == (1, 1.5)
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
        assert vars(row) == {**FIGURES, "val_loss": 7.0}

    @settings(
        max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(value=st.floats())
    def test_every_float_survives(self, records: Records, value: float) -> None:
        figures = {**dict.fromkeys(FIGURES, value), "epoch": 1}
        records.record_epoch("cifar", "a", figures)
        (row,) = records.epochs("cifar", "a")
        for name, found in vars(row).items():
            wanted = figures[name]
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
        with pytest.raises(ValueError, match="retrain, baseline, pair, not 'other'"):
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
    def test_a_study_remembers_what_it_was_made_with(self, storage: RDBStorage) -> None:
        study, created = create_or_check(storage, "cifar", MADE_WITH, {"optuna": "5.0.0"})
        assert created
        assert study.direction is optuna.study.StudyDirection.MINIMIZE
        assert study.user_attrs == {"made_with": MADE_WITH, "made_by": {"optuna": "5.0.0"}}

        again, created = create_or_check(storage, "cifar", MADE_WITH, {"optuna": "5.0.0"})
        assert not created
        assert again.user_attrs == study.user_attrs

    def test_other_versions_are_noted_and_accepted(self, storage: RDBStorage) -> None:
        for version in ("5.0.0", "5.1.0", "5.0.0", "5.2.0", "5.1.0"):
            create_or_check(storage, "cifar", MADE_WITH, {"optuna": version})
        study, _ = create_or_check(storage, "cifar", MADE_WITH)
        assert study.user_attrs["made_by"] == {"optuna": "5.0.0"}
        assert study.user_attrs["continued_by"] == [{"optuna": "5.1.0"}, {"optuna": "5.2.0"}]

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({**MADE_WITH, "epochs": "50"}, "made with epochs 30, not 50: its trials"),
            (
                {**MADE_WITH, "epochs": "50", "data": "digits"},
                "made with data cifar10 5f1e, not digits; epochs 30, not 50: its trials",
            ),
            ({"data": "cifar10 5f1e", "monitor": "val_loss"}, "epochs 30, not (none)"),
            ({**MADE_WITH, "space": "small"}, "space (none), not small"),
        ],
    )
    def test_anything_else_is_refused_with_both_values(
        self, storage: RDBStorage, changed: dict[str, str], said: str
    ) -> None:
        create_or_check(storage, "cifar", MADE_WITH)
        with pytest.raises(StorageError) as caught:
            create_or_check(storage, "cifar", changed)
        assert said in str(caught.value)
        assert "name another STUDY=, or use the old values" in str(caught.value)
        assert load(storage, "cifar").user_attrs["made_with"] == MADE_WITH

    def test_of_long_values_the_difference_is_shown(self, storage: RDBStorage) -> None:
        start = "".join(f"parameter{number} 0..1, " for number in range(50))
        create_or_check(storage, "cifar", {"space": f"{start}width 16..64, {start}"})
        with pytest.raises(StorageError) as caught:
            create_or_check(storage, "cifar", {"space": f"{start}width 16..128, {start}"})
        message = str(caught.value)
        assert len(message) < 400
        assert "width 16..64," in message
        assert "width 16..128," in message

    def test_other_peoples_studies_are_refused(self, storage: RDBStorage) -> None:
        optuna.create_study(storage=storage, study_name="up", direction="maximize")
        optuna.create_study(storage=storage, study_name="two", directions=["minimize"] * 2)
        theirs = optuna.create_study(storage=storage, study_name="theirs")
        theirs.tell(theirs.ask(), 0.5)
        for name in ("up", "two"):
            with pytest.raises(StorageError, match=f"'{name}' does not minimise one value"):
                create_or_check(storage, name, MADE_WITH)
        with pytest.raises(StorageError, match="'theirs' was not made by treino"):
            create_or_check(storage, "theirs", MADE_WITH)

    def test_an_interrupted_creation_is_finished(self, storage: RDBStorage) -> None:
        optuna.create_study(storage=storage, study_name="cifar")
        study, created = create_or_check(storage, "cifar", MADE_WITH)
        assert created
        assert study.user_attrs["made_with"] == MADE_WITH

    def test_a_new_study_has_nothing_of_a_deleted_one(
        self, storage: RDBStorage, records: Records
    ) -> None:
        create_or_check(storage, "cifar", MADE_WITH)
        for study in ("cifar", "other"):
            records.record_epoch(study, "trial-00000", FIGURES)
            records.record_model(model(study=study))
        create_or_check(storage, "cifar", MADE_WITH)
        assert len(records.epochs("cifar", "trial-00000")) == 1, "opened, not created"

        optuna.delete_study(study_name="cifar", storage=storage)
        create_or_check(storage, "cifar", MADE_WITH)
        assert records.epochs_of_study("cifar") == {}
        assert records.models("cifar") == []
        assert len(records.epochs("other", "trial-00000")) == 1

    def test_a_name_that_can_name_no_folder_is_refused(self, storage: RDBStorage) -> None:
        with pytest.raises(StorageError, match="not a valid folder name"):
            create_or_check(storage, "../up", MADE_WITH)
        assert optuna.get_all_study_names(storage) == []

    def test_an_unknown_study_is_told_with_those_there_are(self, storage: RDBStorage) -> None:
        with pytest.raises(StorageError, match=r"no study 'x' in .*; there are none yet"):
            load(storage, "x")
        for name in ("b", "a"):
            create_or_check(storage, name, MADE_WITH)
        with pytest.raises(StorageError, match=r"no study 'x' in .*; there are: a, b"):
            load(storage, "x")
        assert load(storage, "a").study_name == "a"

    def test_a_name_that_looks_the_same_is_the_same_study(self, storage: RDBStorage) -> None:
        composed, apart = "a\u00e7u\u0301car", "ac\u0327\u00facar"
        create_or_check(storage, composed, MADE_WITH)
        assert spelling(storage, apart) == composed
        assert load(storage, apart).study_name == composed
        create_or_check(storage, apart, MADE_WITH)  # as an older treino did
        assert spelling(storage, apart) == apart
        assert spelling(storage, "another") == "another"

    def test_summaries(self, storage: RDBStorage) -> None:
        assert summaries(storage) == []
        study, _ = create_or_check(storage, "z first", MADE_WITH)
        before = datetime.now(timezone.utc)
        for value in (0.5, 0.25, 0.75):
            study.tell(study.ask(), value)
        study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
        study.ask()
        study.enqueue_trial({"x": 1})
        optuna.create_study(storage=storage, study_name="theirs", directions=["minimize"] * 2)

        ours, theirs = summaries(storage)
        assert ours.name == "z first"
        assert ours.trials == {"COMPLETE": 3, "PRUNED": 1, "FAIL": 1, "RUNNING": 1, "WAITING": 1}
        assert ours.best_value == 0.25
        assert ours.made_with == MADE_WITH
        assert ours.started is not None
        assert before <= ours.started <= datetime.now(timezone.utc)
        assert (theirs.trials, theirs.best_value, theirs.made_with, theirs.started) == (
            {},
            None,
            {},
            None,
        )


class TestLease:
    def row(self, storage: RDBStorage) -> Lease | None:
        with Session(storage.engine) as session:
            return session.get(Lease, "cifar")

    def change(self, storage: RDBStorage, **values: object) -> None:
        with storage.engine.begin() as connection:
            connection.execute(update(Lease).values(**values))

    def test_it_is_one_process_s_until_released(self, storage: RDBStorage) -> None:
        with StudyLease(storage.engine, "cifar"):
            with pytest.raises(LeaseHeld, match=f"'cifar' .* process {os.getpid()} on .* STUDY="):
                StudyLease(storage.engine, "cifar").acquire()
            with StudyLease(storage.engine, "another"):
                pass
        with StudyLease(storage.engine, "cifar"):
            pass
        assert self.row(storage) is None

    def test_it_is_released_when_the_search_fails(self, storage: RDBStorage) -> None:
        with pytest.raises(ZeroDivisionError), StudyLease(storage.engine, "cifar"):
            _ = 1 / 0
        assert self.row(storage) is None

    def test_only_one_of_several_gets_it(self, url: str) -> None:
        with opened(url), opened(url) as one, opened(url) as two, opened(url) as three:
            outcomes: list[str] = []
            start = threading.Barrier(3)

            def take(storage: RDBStorage) -> None:
                lease = StudyLease(storage.engine, "cifar")
                start.wait()
                try:
                    lease.acquire()
                    outcomes.append("got")
                except LeaseHeld:
                    outcomes.append("held")

            threads = [threading.Thread(target=take, args=(s,)) for s in (one, two, three)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(outcomes) == ["got", "held", "held"]

    @pytest.mark.parametrize(
        ("seconds", "held"), [(0, True), (-55, True), (-65, False), (55, True), (3600, False)]
    )
    def test_a_holder_elsewhere_is_believed_for_a_while(
        self, storage: RDBStorage, elsewhere: RDBStorage, seconds: float, *, held: bool
    ) -> None:
        StudyLease(elsewhere.engine, "cifar").acquire()
        renewed = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        self.change(storage, host="elsewhere", pid=1, renewed=renewed)

        mine = StudyLease(storage.engine, "cifar")
        if held:
            with pytest.raises(LeaseHeld, match=r"process 1 on elsewhere .* try again in \d+ s"):
                mine.acquire()
        else:
            with mine:
                row = self.row(storage)
                assert row is not None
                assert row.pid == os.getpid()

    def test_renewing_writes_only_when_due(self, storage: RDBStorage) -> None:
        long_ago = datetime(2026, 1, 1, tzinfo=timezone.utc)
        seldom = StudyLease(storage.engine, "cifar")
        with seldom:
            self.change(storage, renewed=long_ago)
            seldom.renew()
            assert (row := self.row(storage)) is not None
            assert row.renewed == long_ago
        with StudyLease(storage.engine, "cifar", renew_seconds=0) as always:
            self.change(storage, renewed=long_ago)
            always.renew()
            assert (row := self.row(storage)) is not None
            assert abs(datetime.now(timezone.utc) - row.renewed) < timedelta(seconds=30)

    def test_a_lost_lease_is_noticed_and_left_to_its_taker(
        self, storage: RDBStorage, elsewhere: RDBStorage
    ) -> None:
        lost = StudyLease(elsewhere.engine, "cifar", renew_seconds=0)
        lost.acquire()
        self.change(storage, host="elsewhere", renewed=datetime(2026, 1, 1, tzinfo=timezone.utc))
        with StudyLease(storage.engine, "cifar"):
            with pytest.raises(LeaseHeld, match=f"taken over by process {os.getpid()}"):
                lost.renew()
            lost.release()
            assert self.row(storage) is not None
        with pytest.raises(LeaseHeld, match="taken over by another process, which has ended"):
            lost.renew()

    def test_who_lost_the_lease_writes_nothing_more(
        self, storage: RDBStorage, elsewhere: RDBStorage
    ) -> None:
        study = create_or_check(elsewhere, "cifar", MADE_WITH)[0]
        trial = study.ask()
        records = Records(elsewhere.engine)
        with pytest.raises(LeaseHeld, match="this search must stop"):  # noqa: PT012, SIM117
            with StudyLease(elsewhere.engine, "cifar"):
                records.record_epoch("cifar", "trial-1", FIGURES)
                self.change(storage, holder="another", host="elsewhere")
                # What another tuner did meanwhile, which would be a traceback to write over.
                load(storage, "cifar").tell(trial.number, 1.0)
                for write in (
                    lambda: study.tell(trial, 2.0),
                    lambda: trial.report(2.0, 1),
                    lambda: study.set_user_attr("note", "x"),
                    lambda: records.record_epoch("cifar", "trial-2", FIGURES),
                ):
                    with pytest.raises(LeaseHeld):
                        write()
                study.ask()
        assert self.row(storage) is not None, "it is the taker's"
        assert list(Records(storage.engine).epochs_of_study("cifar")) == ["trial-1"]
        (known,) = load(storage, "cifar").trials
        assert known.value == 1.0
        assert not known.intermediate_values

    def test_its_study_can_be_written_after_it_was_released(self, storage: RDBStorage) -> None:
        with StudyLease(storage.engine, "cifar"):
            pass
        create_or_check(storage, "cifar", MADE_WITH)

    def test_a_process_with_the_same_id_is_not_the_holder(
        self, storage: RDBStorage, elsewhere: RDBStorage
    ) -> None:
        StudyLease(elsewhere.engine, "cifar").acquire()
        self.change(storage, process_started=Lease.process_started - 100)
        with StudyLease(storage.engine, "cifar"):
            pass

    @pytest.mark.parametrize("host", ["{name}", "{name} @ another boot", "{name} @ ?"])
    def test_a_host_of_the_same_name_tells_nothing_of_its_processes(
        self, storage: RDBStorage, elsewhere: RDBStorage, host: str
    ) -> None:
        StudyLease(elsewhere.engine, "cifar").acquire()
        # Not a process here: in a container that has this host's name, say, or before a restart.
        self.change(storage, host=host.format(name=socket.gethostname()), pid=2**22 + 1)
        with pytest.raises(LeaseHeld, match=rf"on {socket.gethostname()} since .* try again in"):
            StudyLease(storage.engine, "cifar").acquire()
        self.change(storage, renewed=datetime(2026, 1, 1, tzinfo=timezone.utc))
        with StudyLease(storage.engine, "cifar"):
            pass

    def test_a_holder_of_an_older_treino_is_seen_to_live(
        self, storage: RDBStorage, elsewhere: RDBStorage
    ) -> None:
        StudyLease(elsewhere.engine, "cifar").acquire()
        long_ago = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.change(storage, host=socket.gethostname(), renewed=long_ago)
        with pytest.raises(LeaseHeld, match="wait for it"):
            StudyLease(storage.engine, "cifar").acquire()
