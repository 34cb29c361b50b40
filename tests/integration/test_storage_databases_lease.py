"""The lease over every database: SQLite, and PostgreSQL where its server is installed."""

import os
import socket
import threading
from datetime import datetime, timedelta, timezone

import pytest
from optuna.storages import RDBStorage
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.lease import LeaseHeld, StudyLease
from storage.study import load, open_or_create
from storage.tables import Lease, Records
from tests.support.databases import ATTRIBUTES, FIGURES, opened

pytest_plugins = ["tests.support.database_fixtures"]


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
        study = open_or_create(elsewhere, "cifar", ATTRIBUTES)[0]
        trial = study.ask()
        records = Records(elsewhere.engine)
        with pytest.raises(LeaseHeld, match="this process must stop"):  # noqa: PT012, SIM117
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
        open_or_create(storage, "cifar", ATTRIBUTES)

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
