"""Image folders: layouts, and everything that can be wrong with them."""

import multiprocessing
import os
import shutil
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import decode as decoding
from data.catalog import load
from data.dataset import DataError
from data.decode import decode
from tests.support.folders import COLOURS, documents_layout, open_folder, said, save
from tests.support.pictures import image_folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_the_documents_layout(tmp_path: Path, cache: Path) -> None:
    data = open_folder(documents_layout(tmp_path / "Imagens"), cache)
    assert data.name == "Imagens"
    assert data.classes == ("red", "blue")
    assert data.input_shape == (8, 8, 3)
    assert data.train.parts == (6, 4)
    assert list(data.train.labels) == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert list(data.validation.labels) == [0, 0, 1, 1]
    assert list(data.test.labels) == [0, 1]
    red = data.train.images[0].reshape(-1, 3)
    assert np.abs(np.median(red, axis=0) - COLOURS["red"]).max() < 5
    assert data.warnings == ()


def test_train_10_comes_after_train_9(tmp_path: Path, cache: Path) -> None:
    data = open_folder(documents_layout(tmp_path / "i", trains=tuple(range(1, 11))), cache)
    assert data.train.parts == tuple(2 * n for n in range(1, 11))


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_class_folders_directly_below_the_splits(tmp_path: Path, cache: Path, name: str) -> None:
    root = documents_layout(tmp_path / "i", trains=(3,))
    for folder in (root / "train/train1").iterdir():
        folder.rename(root / "train" / folder.name)
    (root / "train/train1").rmdir()
    (root / "validation").rename(root / name)
    data = open_folder(root, cache)
    assert data.train.parts == (6,)
    assert len(data.validation.labels) == 4


def test_class_folders_alone_are_split(tmp_path: Path, cache: Path) -> None:
    root = image_folder(tmp_path / "i", each=20)
    (root / ".DS_Store").touch()
    (root / "dark/notes.txt").touch()
    data = open_folder(root, cache)
    assert data.classes == ("dark", "grey", "light")
    sizes = {"train": 48, "validation": 6, "test": 6}
    for split, size in sizes.items():
        labels = getattr(data, split).labels
        assert len(labels) == size
        assert set(np.bincount(labels)) == {size // 3}
    assert open_folder(root, cache, seed=0).fingerprint == data.fingerprint
    assert open_folder(root, cache, seed=1).fingerprint != data.fingerprint


def bomb(path: Path) -> Path:
    """A file of a few bytes that claims 60,000 by 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    return path


def as_a_stranger(work: Callable[[], str]) -> str:
    """What ``work`` returns in a process that is not root's."""
    ours, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads in other tests, which the child never meets
        child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            theirs.send(work())
        except BaseException as error:  # noqa: BLE001 - must not go on as another pytest
            theirs.send(repr(error))
        os._exit(0)
    os.waitpid(child, 0)
    with ours, theirs:
        return str(ours.recv())


class TestBadInput:
    """Each has one line, which names the file or folder."""

    def test_no_such_folder(self, tmp_path: Path, cache: Path) -> None:
        assert str(tmp_path / "nowhere") in said(tmp_path / "nowhere", cache)

    def test_a_file(self, tmp_path: Path, cache: Path) -> None:
        path = save(tmp_path / "image.png")
        assert f"{path} is a file" in said(path, cache)

    def test_nothing_in_it(self, tmp_path: Path, cache: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert f"{tmp_path / 'empty'} holds no image folders" in said(tmp_path / "empty", cache)

    def test_no_training_images(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        shutil.rmtree(root / "train")
        line = said(root, cache)
        assert str(root) in line
        assert "no folder 'train'" in line

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_an_empty_class(self, tmp_path: Path, cache: Path, split: str) -> None:
        root = documents_layout(tmp_path / "i")
        for image in (root / split / "001_blue").iterdir():
            image.unlink()
        assert f"{root / split / '001_blue'} holds no images" in said(root, cache)

    def test_a_class_in_one_split_only(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        save(root / "test/002_green/1.png")
        line = said(root, cache)
        assert f"class '002_green' is in {root / 'test'} but not in {root / 'train'}" in line

    def test_one_class_alone(self, tmp_path: Path, cache: Path) -> None:
        save(tmp_path / "i/only/1.png")
        assert "at least two" in said(tmp_path / "i", cache)

    def test_too_few_images_to_split(self, tmp_path: Path, cache: Path) -> None:
        root = image_folder(tmp_path / "i", each=2)
        assert f"{root / 'dark'} holds 2 of the 3 images" in said(root, cache)

    def test_unreadable_images_are_listed_and_refused_or_left_out(
        self, tmp_path: Path, cache: Path
    ) -> None:
        root = documents_layout(tmp_path / "i", trains=(9, 3))
        images = sorted((root / "train/train1/000_red").iterdir())
        for image in images[:6]:
            image.write_bytes(image.read_bytes()[:40])
        (root / "train/train2/001_blue/zero.jpg").touch()
        line = said(root, cache)
        assert str(images[0]) in line
        assert "and 2 more" in line
        assert "--skip-bad-images" in line
        data = open_folder(root, cache, skip_bad_images=True)
        assert data.train.parts == (12, 6)
        assert list(np.bincount(data.train.labels)) == [6, 12]
        assert len(data.train.images) == 18
        assert "left out" in data.warnings[0]

    def test_a_class_with_bad_images_alone(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        for image in (root / "test/000_red").iterdir():
            image.write_bytes(b"nonsense")
        line = said(root, cache, skip_bad_images=True)
        assert "class 'red'" in line
        assert str(root) in line

    def test_a_decompression_bomb(self, tmp_path: Path, cache: Path) -> None:
        root = documents_layout(tmp_path / "i")
        path = bomb(root / "train/train1/000_red/bomb.png")
        line = said(root, cache)
        assert f"{path}: 60000x60000 pixels are more than the 250,000,000 allowed" in line

    def test_an_image_of_too_many_pixels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "MAX_PIXELS", 99)
        file = BytesIO()
        Image.new("L", (10, 10)).save(file, "PNG")
        with pytest.raises(ValueError, match="10x10 pixels are more than the 99 allowed"):
            decode(file.getvalue(), 8)

    def test_a_file_too_large(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = documents_layout(tmp_path / "i")
        monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 50)
        assert "bytes are more than the 50 allowed" in said(root, cache)

    def test_training_images_among_those_to_validate_and_test_with(
        self, tmp_path: Path, cache: Path
    ) -> None:
        root = documents_layout(tmp_path / "i")
        source = next((root / "train/train1/000_red").iterdir())
        shutil.copy(source, root / "validation/000_red/copy.png")
        shutil.copy(source, root / "test/000_red/copy 1.png")
        shutil.copy(source, root / "test/001_blue/copy 2.png")
        first, second, third = open_folder(root, cache).warnings
        assert first.startswith("1 of the validation images are training images too")
        assert second.startswith("2 of the test images are training images too")
        assert third.startswith("1 image is in two classes")

    @pytest.mark.parametrize("locked", ["train/train1/000_red", "file"])
    def test_no_permission(self, locked: str) -> None:
        # Not below pytest's folder, which each session that starts closes to others again.
        with tempfile.TemporaryDirectory() as temporary:
            there = Path(temporary)
            there.chmod(0o755)
            root = documents_layout(there / "i")
            path = next((root / "test/000_red").iterdir()) if locked == "file" else root / locked
            open_folder(root, there / "warm")  # imports what a stranger may not read
            if as_a_stranger(lambda: str(os.access(root, os.X_OK))) != "True":
                pytest.skip("other users cannot reach the temporary folder")
            path.chmod(0)
            cache = there / "cache"
            cache.mkdir()
            cache.chmod(0o777)
            line = as_a_stranger(lambda: said(root, cache))
            path.chmod(0o755)
        assert line == f"no permission to read {path}: change its permissions"

    @pytest.mark.parametrize("size", [0, 7, 1025])
    def test_an_image_size_out_of_range(self, tmp_path: Path, cache: Path, size: int) -> None:
        with pytest.raises(DataError, match=f"image size {size}: expected 8 to 1024"):
            load("digits", image_size=size, cache=cache)

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert str(tmp_path / "file/cache") in said(
            documents_layout(tmp_path / "i"), tmp_path / "file/cache"
        )
