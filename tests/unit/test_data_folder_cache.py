"""The cache of decoded image folders."""

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.catalog import load
from data.dataset import META, DataError, Dataset
from tests.support.folders import documents_layout, open_folder, said, save


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class TestCache:
    """Decoded once, found again, noticed when it is not what it was."""

    def test_the_second_time_nothing_is_decoded(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        heard = []

        def progress(what: str, done: int, total: int) -> None:
            heard.append((what, done, total))

        first = open_folder(root, cache, progress=progress)
        assert heard[-1][1] == heard[-1][2] == 16
        heard.clear()
        second = open_folder(root, cache, progress=progress)
        assert heard == []
        assert second.path == first.path
        assert isinstance(second.train.images, np.memmap)
        assert not second.train.images.flags.writeable
        assert Dataset.open(first.path).fingerprint == first.fingerprint

    def test_changes_are_noticed(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        prints = [open_folder(root, cache).fingerprint]
        added = save(root / "train/train1/000_red/new.png", number=90)
        prints.append(open_folder(root, cache).fingerprint)
        save(added, number=91)
        prints.append(open_folder(root, cache).fingerprint)
        added.rename(root / "train/train1/001_blue/new.png")
        prints.append(open_folder(root, cache).fingerprint)
        assert len(set(prints)) == 4
        (root / "train/train1/001_blue/new.png").unlink()
        assert open_folder(root, cache).fingerprint == prints[0]

    def test_the_fingerprint_is_of_the_content(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        copy = shutil.copytree(root, tmp_path / "elsewhere")
        one = open_folder(root, cache)
        other = open_folder(copy, tmp_path / "another cache")
        assert one.fingerprint == other.fingerprint
        larger = load(str(root), image_size=9, cache=cache).dataset
        assert larger.fingerprint != one.fingerprint

    @pytest.mark.parametrize("damage", ["cut", "gone", "json", "meta gone"])
    def test_a_damaged_entry_is_made_anew(self, tmp_path: Path, cache: Path, damage: str) -> None:
        root = documents_layout(tmp_path / "i")
        data = open_folder(root, cache)
        before = data.train.images.copy()
        file = data.path / ("train-images.npy" if damage in ("cut", "gone") else META)
        if damage in ("gone", "meta gone"):
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(DataError):
            Dataset.open(data.path)
        np.testing.assert_array_equal(open_folder(root, cache).train.images, before)

    def test_two_processes_at_once(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i", trains=(40, 20))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            prints = pool.starmap(_fingerprint, [(root, cache)] * 2)
        assert prints[0] == prints[1] == open_folder(root, cache).fingerprint
        assert [p.name for p in (cache / "decoded").iterdir()] == [prints[0]]

    def test_what_fails_leaves_nothing_behind(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        next((root / "test/000_red").iterdir()).write_bytes(b"nonsense")
        said(root, cache)
        assert list((cache / "decoded").iterdir()) == []

    def test_what_is_left_out_is_told_each_time_and_as_it_is_now(
        self, tmp_path: Path, cache: Path
    ) -> None:
        root = documents_layout(tmp_path / "i")
        note = root / "train/train1/000_red/notes.txt"
        note.touch()
        for images in (None, None, 6, 6):
            data = open_folder(root, cache, images=images)
            assert "000_red: 1 .txt" in data.warnings[-1]
            assert Dataset.open(data.path).warnings == ()
        note.unlink()
        assert open_folder(root, cache).warnings == ()

    def test_a_folder_whose_name_is_no_text(self, tmp_path: Path, cache: Path) -> None:
        root = tmp_path / os.fsdecode(b"imagens\xe7")
        try:
            documents_layout(root)
            (root / "train/train1" / os.fsdecode(b"ma\xe7")).mkdir()
        except OSError:
            pytest.skip("this file system wants text")
        (root / "train/train1" / os.fsdecode(b"ma\xe7")).rmdir()
        for split in ("train/train1", "validation", "test"):
            (root / split / "000_red").rename(root / split / os.fsdecode(b"ma\xe7"))
        shutil.rmtree(root / "train/train2")
        bad = root / "train/train1" / os.fsdecode(b"ma\xe7/\xff.png")
        bad.touch()
        assert r"ma\xe7/\xff.png" in said(root, cache)
        bad.unlink()
        for _ in range(2):
            choice = load(str(root), image_size=8, cache=cache)
            assert choice.dataset.name == r"imagens\xe7"
            assert choice.dataset.classes == ("001_blue", r"ma\xe7")
            choice.reason.encode()

    @pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff"])
    def test_nonsense_is_no_data_set(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / META).write_bytes(content)
        with pytest.raises(DataError):
            Dataset.open(tmp_path)


def _fingerprint(root: Path, cache: Path) -> str:
    return open_folder(root, cache).fingerprint
