"""Databases and files of another user, that this one may only read."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.engine import open_storage
from storage.errors import StorageError
from storage.files import folder_to_write
from storage.study import load, open_or_create, summaries
from tests.support.children import child

WRITE = """
import sqlite3, sys
connection = sqlite3.connect("treino.db")
connection.execute("UPDATE studies SET study_name = 'newest'")
connection.commit()
print("written", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_user(folder: Path) -> Iterator[None]:
    """Whoever runs the tests, made a user who may read what is in ``folder``, and no more.

    Root, to whom all is permitted, is nobody inside the block, with a temporary folder of his own.
    """
    temporary = tempfile.gettempdir()
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    user = os.geteuid()
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        tempfile.tempdir = tempfile.mkdtemp()
        Path(tempfile.tempdir).chmod(0o777)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        if user == 0:
            shutil.rmtree(tempfile.gettempdir())
            tempfile.tempdir = temporary
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


def names(path: Path) -> list[str]:
    """The studies that are read from a database, and that nothing was left beside it."""
    before = sorted(file.name for file in path.parent.iterdir())
    storage = open_storage(str(path), write=False)
    try:
        found = [row.name for row in summaries(storage)]
    finally:
        storage.engine.dispose()
    assert sorted(file.name for file in path.parent.iterdir()) == before
    return found


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one study."""
    path = tmp_path_factory.mktemp("closed") / "treino.db"
    opened = open_storage(str(path), write=True)
    open_or_create(opened, "first", {"data": "x"})
    opened.engine.dispose()
    return path


@pytest.fixture
def database(closed: Path) -> Iterator[Path]:
    """The same, in a folder with an awkward name that any user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="treino 50%? #1 {x} é "))
    folder.chmod(0o755)
    # By a relative path: the names of databases hold no question mark.
    before = Path.cwd()
    os.chdir(folder)
    shutil.copyfile(closed, folder / "treino.db")
    yield Path("treino.db")
    os.chdir(before)
    shutil.rmtree(folder)


@pytest.fixture
def writer(database: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has renamed the study, and has the database open."""
    with child([sys.executable, "-c", WRITE], "written") as process:
        yield process
        process.kill()


def test_a_database_at_rest_is_read(database: Path) -> None:
    with another_user(database.parent):
        assert names(database) == ["first"]


def test_what_may_be_written_in_part_is_left_as_it_is(database: Path) -> None:
    # A shared folder, and the database another user's: files beside it would be the reader's.
    with another_user(database.parent):
        os.seteuid(os.getuid())
        database.parent.chmod(0o777)
        if os.geteuid() == 0:
            os.seteuid(65534)
        assert names(database) == ["first"]


def test_a_live_writer_is_read(database: Path, writer: "subprocess.Popen[str]") -> None:
    with another_user(database.parent):
        assert names(database) == ["newest"]
    writer.communicate()
    assert writer.returncode == 0, "it was not disturbed"


@pytest.mark.parametrize("kept", [["-wal", "-shm"], ["-wal"]])
def test_what_a_killed_writer_left_is_read(
    database: Path, writer: "subprocess.Popen[str]", kept: list[str]
) -> None:
    writer.kill()
    writer.wait()
    for end in {"-wal", "-shm"} - set(kept):
        database.with_name(database.name + end).unlink()
    with another_user(database.parent):
        assert names(database) == ["newest"]


def test_no_room_for_a_copy_is_one_line(
    database: Path, writer: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.kill()
    writer.wait()
    database.with_name(f"{database.name}-shm").unlink()
    with another_user(database.parent), monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(database.parent.absolute()))
        with pytest.raises(StorageError, match="the copy failed: "):
            open_storage(str(database), write=False)


def test_a_reader_sees_what_is_written_later(database: Path) -> None:
    with another_user(database.parent):
        reading = open_storage(str(database), write=False)
        assert [row.name for row in summaries(reading)] == ["first"]
    writing = open_storage(str(database), write=True)
    open_or_create(writing, "second", {"data": "x"})
    with another_user(database.parent):
        assert load(reading, "second").study_name == "second"
    writing.engine.dispose()
    with another_user(database.parent):
        assert [row.name for row in summaries(reading)] == ["first", "second"]
        reading.engine.dispose()


def test_a_page_that_cannot_be_written_beside_its_study_goes_elsewhere(tmp_path: Path) -> None:
    assert folder_to_write(tmp_path / "a" / "report") == tmp_path / "a" / "report"
    folder = Path(tempfile.mkdtemp())
    (folder / "report").mkdir()
    folder.chmod(0o755)
    with another_user(folder):
        for wanted in (folder / "report", folder / "claims" / "below"):
            found = folder_to_write(wanted)
            assert folder not in found.parents
            (found / "page").write_text("")
            shutil.rmtree(found)
    shutil.rmtree(folder)
