import errno
import itertools
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.files import (
    Layout,
    checked_name,
    replacing,
    replacing_folder,
    told_of_disk,
    write_atomically,
)


def test_every_path_of_a_run(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    run = layout.run("cifar", "trial-00012")
    folder = tmp_path / "var" / "cifar" / "runs" / "trial-00012"

    assert layout.artifacts == tmp_path / "var" / "artifacts"
    assert layout.logs("cifar") == tmp_path / "var" / "cifar" / "logs"
    assert run.checkpoint == folder / "checkpoint.npz"
    assert run.model == folder / "model.keras"
    assert run.spec == folder / "spec.json"
    assert run.curves == folder / "curves.png"
    assert run.history == folder / "history.csv"
    assert run.confusion == folder / "confusion.png"
    assert run.card == folder / "README.md"
    assert layout.best("cifar").model == tmp_path / "var" / "cifar" / "best" / "model.keras"
    assert not (tmp_path / "var").exists(), "a layout names paths and makes none"


def test_a_relative_root_stays_relative() -> None:
    assert Layout(Path("var")).run("a", "b").spec == Path("var/a/runs/b/spec.json")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a..b",
        "../up",
        "a/b",
        "a\\b",
        "/absolute",
        "line\nbreak",
        "nul\0",
        "\x7f",
        "bidi\u202e",
        "\ud800",
        " before",
        "after ",
        "x" * 101,
        "長" * 100,
        "artifacts",
        "Artifacts",
        "treino.db",
        "treino.db-wal",
        "two\u2028lines",
        "para\u2029graphs",
        "soft\u00adhyphen",
        "isolate\u2066d",
        "byte\udcff",
    ],
)
def test_a_name_that_could_do_harm_is_refused(name: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for use in (
        layout.logs,
        layout.best,
        lambda n: layout.run(n, "r"),
        lambda n: layout.run("s", n),
    ):
        with pytest.raises(StorageError) as caught:
            use(name)
        assert str(caught.value).isprintable(), "one line, whatever the name"


@given(name=st.text(max_size=110))
def test_an_accepted_name_is_one_folder_below_the_root(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "names"
    try:
        checked_name(name)
    except StorageError:
        return
    folder = Layout(root).run(name, "r").folder
    folder.mkdir(parents=True, exist_ok=True)
    assert folder.resolve().relative_to(root.resolve()).parts == (name, "runs", "r")


@pytest.mark.parametrize(
    "name",
    [
        *("x", "açúcar", "ac\u0327u\u0301car", "a b", "v1.2", "-x", "x" * 100, "é" * 100),
        *("50%", 'o\'hara "x"', "a?b#c", "{x}", "con", "~nobody", "[bold]x", "$HOME", "*"),
        "👩\u200d🔬 run",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "❤\ufe0f\u200d🔥",
        "\u0645\u06cc\u200c\u062e",
        "\U0001faea newer than this Python",
        "\ue0b0 of a font for terminals",
        "研" * 66,
    ],
)
def test_ordinary_names_are_accepted(name: str, tmp_path: Path) -> None:
    assert checked_name(name) == name
    write_atomically(Layout(tmp_path).run(name, name).spec, "{}")
    assert [file.name for file in tmp_path.iterdir()] == [name] or sys.platform == "darwin"


def test_a_study_gets_its_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    for _ in range(2):
        layout.make("digits")
        assert (tmp_path / "var" / "digits").is_dir()


def test_a_file_where_a_study_belongs_is_one_line(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    write_atomically(layout.root / "digits", "a database, say")
    with pytest.raises(StorageError, match=r"digits is a file.*--study.*--storage"):
        layout.make("digits")
    with pytest.raises(StorageError, match="reserved by SQLite for"):
        layout.make("digits-wal")
    with pytest.raises(StorageError, match="cannot write"):
        Layout(layout.root / "digits").make("study")


def test_space_is_counted_where_it_can_be_seen(tmp_path: Path) -> None:
    write_atomically(tmp_path / "seen", bytes(100))
    write_atomically(tmp_path / "closed" / "file", bytes(1000))
    (tmp_path / "closed").chmod(0o000)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    try:
        assert 100 <= Layout(tmp_path).used() < 2000
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_no_link_leads_outside(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    outside = tmp_path / "outside"
    outside.mkdir()
    layout.root.mkdir()
    (layout.root / "artifacts").symlink_to(outside)
    (layout.root / "study").symlink_to(outside)
    (layout.root / "circle").symlink_to(layout.root / "circle")
    files = layout.run("other", "run")
    files.folder.mkdir(parents=True)
    (files.folder / "spec.json").symlink_to(outside / "spec.json")

    for use in (
        lambda: layout.artifacts,
        lambda: layout.logs("study"),
        lambda: layout.run("study", "run"),
        lambda: files.spec,
    ):
        with pytest.raises(StorageError, match="leads outside"):
            use()
    with pytest.raises(StorageError):
        write_atomically(layout.best("circle").card, "text")
    assert files.card == files.folder / "README.md"
    assert list(outside.iterdir()) == []


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "disk")
    assert Layout(tmp_path / "var").logs("study") == tmp_path / "var" / "study" / "logs"


def test_a_written_file_is_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "card.md"
    write_atomically(path, "açúcar\n")
    assert path.read_bytes() == "açúcar\n".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    (folder / "in it").mkdir(parents=True)
    (tmp_path / "file").write_text("here first")
    with pytest.raises(StorageError, match=r"cannot write .*taken"):
        write_atomically(folder, "text")
    with pytest.raises(StorageError, match=r"cannot write .*below"):
        write_atomically(tmp_path / "file" / "below", "text")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "in it", "taken"]
    assert (tmp_path / "file").read_text() == "here first"


def test_replacing_keeps_the_suffix_and_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".keras"
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def of_folders(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.EPERM, errno.ENOTSUP])
@pytest.mark.parametrize("concerned", [of_folders, lambda _: True])
def test_a_file_system_without_fsync_will_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    concerned: Callable[[int], bool],
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if concerned(descriptor):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("call", ["fsync", "close", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_at_the_last_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    write_atomically(tmp_path / "file", "old")
    real = os.close

    def fail(*arguments: object) -> None:
        if call == "close":
            real(int(str(arguments[0])))
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path if call == "replace" else os, call, fail)
        with pytest.raises(StorageError, match=f"cannot write .*file: {os.strerror(number)}"):
            write_atomically(tmp_path / "file", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() in ("old", "new")


def test_what_a_library_has_no_room_for_is_told(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"cannot write .*x\.keras: No space"):  # noqa: PT012, SIM117
        with replacing(tmp_path / "x.keras") as temporary:
            temporary.write_text("half")
            raise full
    assert list(tmp_path.iterdir()) == []


def test_faults_of_the_disk_are_told_and_no_others() -> None:
    with pytest.raises(StorageError, match=r"^a/b: Permission denied; "), told_of_disk():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a/b")
    with pytest.raises(StorageError, match=r"^Disk quota exceeded; "), told_of_disk():
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    for other in (BrokenPipeError(errno.EPIPE, "x"), FileNotFoundError(errno.ENOENT, "x", "y")):
        with pytest.raises(type(other)), told_of_disk():
            raise other


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_replacing_removes_what_a_failed_block_wrote(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_with_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(StorageError, match="cannot write"), replacing(path):
        pass
    assert path.read_text() == "old"


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with replacing(path) as first, replacing(path) as second:
        for number, temporary in zip(itertools.count(), (first, second), strict=False):
            temporary.write_text(str(number))
    assert path.read_text() == "0", "the outer block ended last"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model"
    for content in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / "inner").mkdir(parents=True)
            (temporary / "inner" / content).write_text(content)
    assert [file.name for file in (path / "inner").iterdir()] == ["second"]
    with pytest.raises(ZeroDivisionError), replacing_folder(path) as temporary:  # noqa: PT012
        temporary.mkdir()
        raise ZeroDivisionError
    with pytest.raises(StorageError, match="cannot write"), replacing_folder(path):
        pass  # nothing was written
    assert [file.name for file in (path / "inner").iterdir()] == ["second"]
    assert list(path.parent.iterdir()) == [path], "nothing else is left"
