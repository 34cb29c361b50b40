"""Names of folders in any layout: any bytes, any Unicode."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import DataError
from data.folder import scan
from tests.support.folders import both, fill, refused, sizes


class TestUnicode:
    """Class names that are equal, look equal, or are no text."""

    def test_one_class_in_two_forms(self, tmp_path: Path) -> None:
        nfc, nfd = "caf\xe9", "cafe\u0301"
        root = fill(tmp_path, f"train/{nfc}", f"val/{nfd}", f"test/{nfd}")
        fill(root, "train/bar", "val/bar", "test/bar")
        if len(list((root / "train").iterdir())) < 2:
            pytest.skip("this file system does not tell the two apart")
        found = scan(root, 0)
        assert found.classes == ("bar", nfc)
        assert sizes(found) == (20, 20, 20)
        assert found.splits["validation"].labels == (0,) * 10 + (1,) * 10

    def test_two_classes_that_look_the_same(self, tmp_path: Path) -> None:
        root = fill(tmp_path, "caf\xe9", "cafe\u0301")
        if len(list(root.iterdir())) < 2:
            pytest.skip("this file system takes them for one")
        found = scan(root, 0)
        assert len(found.classes) == 2
        assert "Unicode NFC" in found.warnings[0]
        assert "Unicode NFD" in found.warnings[0]

    def test_a_class_that_only_looks_like_that_of_another_split(self, tmp_path: Path) -> None:
        root = fill(tmp_path, *both("train", "val"), "test/a", "test/b\u200b")
        line = refused(root)
        assert r"'b\u200b'" in line
        assert "only look the same" in line

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        root = tmp_path / os.fsdecode(b"imagens\xe7")
        try:
            fill(root, os.fsdecode(b"ma\xe7\xe3"), "maca")
        except OSError:
            pytest.skip("this file system wants text")
        (root / os.fsdecode(b"ma\xe7\xe3/x.\xe7")).touch()
        found = scan(root, 0)
        assert found.classes == ("maca", r"ma\xe7\xe3")
        assert found.name == r"imagens\xe7"
        assert found.source.endswith(r"imagens\xe7")
        assert r"ma\xe7\xe3: 1 without a known suffix" in found.warnings[0]
        fill(root, r"ma\xe7\xe3")
        assert "are both written" in refused(root)


part = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [
            *(b"train", b"Training", b"val", b"test", b"seg_train", b"seg_test", b"train1"),
            *(b"a", b"b", b"000_a", b"1-2", b"~root", b"@eaDir", b"x.png", b"caf\xc3\xa9"),
            *(b"cafe\xcc\x81", b"\xe7", b"\xed\xa0\x80", b"[bold]", b"a\nb", b"-", b"'", b"\xff"),
        ]
    ),
).filter(lambda name: not {0, ord("/")} & set(name) and name not in (b".", b".."))
paths = st.lists(part, min_size=1, max_size=4)


@given(st.lists(st.tuples(paths, st.integers(0, 4)), max_size=8), st.lists(paths, max_size=2))
def test_any_folder_is_scanned_or_refused_in_one_line(
    folders: list[tuple[list[bytes], int]], links: list[list[bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as there:
        for names, images in folders:
            _touch(Path(there, *map(os.fsdecode, names)), images)
        for names in links:
            _link(Path(there, *map(os.fsdecode, names)))
        try:
            found = scan(Path(there), 0)
        except DataError as error:
            line = str(error)
            line.encode()
            assert len(line.splitlines()) == 1
            return
        assert len(set(found.classes)) == len(found.classes) >= 2
        for text in (*found.classes, *found.warnings):
            text.encode()
        assert all(line.isprintable() for line in found.warnings)
        assert all(sizes(found))
        for split in found.splits.values():
            assert len(split.files) == len(split.labels) == sum(split.parts)
            assert set(split.labels) == set(range(len(found.classes)))


def _touch(folder: Path, images: int) -> None:
    with suppress(OSError):  # a link or a file is in its place, or the file system wants text
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(images):
            (folder / f"{number}.jpg").touch()


def _link(path: Path) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(Path("..") / path.name)
