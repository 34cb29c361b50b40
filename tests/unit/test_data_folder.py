"""Image folders: layouts, everything that can be wrong with them, and what is kept of them."""

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
from data.dataset import META, DataError, Dataset
from data.decode import decode
from tests.support.pictures import image_folder

COLOURS = {"red": (250, 10, 10), "blue": (10, 10, 250)}


def save(path: Path, colour: tuple[int, int, int] = (1, 2, 3), number: int = 0) -> Path:
    """A small image, unlike any of another number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (10, 10), colour)
    image.putpixel((number % 10, number // 10 % 10), (0, 255, number // 100))
    image.save(path)
    return path


def documents_layout(root: Path, trains: tuple[int, ...] = (3, 2)) -> Path:
    """train/train1..N/<class>, validation/<class>, test/<class>; sizes a class and folder."""
    number = 0
    for label, (name, colour) in enumerate(COLOURS.items()):
        folders = {f"train/train{n}": size for n, size in enumerate(trains, 1)}
        for where, size in (folders | {"validation": 2, "test": 1}).items():
            for _ in range(size):
                number += 1
                save(root / where / f"{label:03d}_{name}" / f"{number}.png", colour, number)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def open_folder(root: Path, cache: Path, **options: object) -> Dataset:
    return load(str(root), image_size=8, cache=cache, **options).dataset  # type: ignore[arg-type]


def said(root: Path, cache: Path, **options: object) -> str:
    """The error's one line."""
    with pytest.raises(DataError) as caught:
        open_folder(root, cache, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


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


class TestDecode:
    """Every format, mode and size."""

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
    @pytest.mark.parametrize("size", [(8, 8), (3, 40), (64, 64)])
    def test_formats_and_sizes(self, kind: str, size: tuple[int, int]) -> None:
        file = BytesIO()
        Image.new("RGB", size, (200, 100, 50)).save(file, kind)
        pixels = decode(file.getvalue(), 8)
        assert pixels.shape == (8, 8, 3)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 12

    @pytest.mark.parametrize(
        ("mode", "value", "expected"),
        [
            ("1", 1, (255, 255, 255)),
            ("L", 100, (100, 100, 100)),
            ("LA", (100, 255), (100, 100, 100)),
            ("LA", (100, 0), (255, 255, 255)),
            ("RGBA", (9, 8, 7, 255), (9, 8, 7)),
            ("RGBA", (9, 8, 7, 0), (255, 255, 255)),
            ("I;16", 257 * 100, (100, 100, 100)),
        ],
    )
    def test_modes(self, mode: str, value: object, expected: tuple[int, ...]) -> None:
        file = BytesIO()
        Image.new(mode, (8, 8), value).save(file, "PNG")  # type: ignore[arg-type]
        assert tuple(decode(file.getvalue(), 8)[4, 4]) == expected

    def test_a_palette_and_cmyk(self) -> None:
        file = BytesIO()
        Image.new("RGB", (8, 8), (0, 128, 255)).convert("P").save(file, "PNG")
        assert np.abs(decode(file.getvalue(), 8)[0, 0].astype(int) - (0, 128, 255)).max() < 60
        file = BytesIO()
        Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(file, "JPEG")
        assert decode(file.getvalue(), 8).max() < 12

    def test_a_picture_taken_sideways_is_turned(self) -> None:
        image = Image.new("L", (16, 8))
        image.paste(255, (0, 0, 8, 8))  # light on the left
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
        file = BytesIO()
        image.save(file, "JPEG", exif=exif)
        pixels = decode(file.getvalue(), 8)
        assert pixels[0].mean() > 200
        assert pixels[-1].mean() < 50


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
