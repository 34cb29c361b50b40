"""The cache of decoded images: what it shows is today's, and what was interrupted is gone."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import temporary
from data.cache import Cache
from data.catalog import load
from data.dataset import DataError, Dataset
from data.temporary import own_folder, own_name, sweep
from tests.support.pictures import image_folder

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(root: Path, cache: Path, **options: object) -> Dataset:
    return load(str(root), image_size=8, cache=cache, **options).dataset  # type: ignore[arg-type]


def split_folder(root: Path) -> Path:
    """A folder with a split of its own, in which no two images are alike."""
    for number, split in enumerate(("train", "validation", "test")):
        image_folder(root / split)
        for file in sorted((root / split).rglob("*.png")):
            with Image.open(file) as image:
                Image.fromarray(np.roll(np.asarray(image), number, 1)).save(file)
    return root


class TestWhatIsShown:
    """Name, source and warnings are those of the images at hand, not of their first decoding."""

    def test_a_moved_folder_is_named_as_it_is_now(self, tmp_path: Path, cache: Path) -> None:
        first = opened(image_folder(tmp_path / "birds"), cache)
        moved = (tmp_path / "birds").rename(tmp_path / "aves")
        second = opened(moved, cache)
        assert second.fingerprint == first.fingerprint
        assert second.path == first.path
        assert (second.name, second.source) == ("aves", f"image folders in {moved}")
        # Also to what opens it by its path alone.
        assert Dataset.open(second.path).source == second.source
        part = opened(moved, cache, images=21)
        assert part.name == "aves (21 images)"
        back = moved.rename(tmp_path / "oiseaux")
        assert opened(back, cache, images=21).name == "oiseaux (21 images)"

    def test_a_cache_that_can_only_be_read_does_not_matter(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = opened(image_folder(tmp_path / "birds"), cache)

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr("data.cache._replace", refuse)
        assert Cache(cache).renamed(data, "aves", "elsewhere").name == "aves"

    def test_warnings_are_of_these_images(self, tmp_path: Path, cache: Path) -> None:
        root = split_folder(tmp_path / "i")
        clean = opened(root, cache)
        assert clean.warnings == ()
        broken = root / "train/dark/zz.png"
        broken.write_text("x")
        for _ in range(2):  # decoded, then found in the cache
            with_bad = opened(root, cache, skip_bad_images=True)
            assert f"left out {broken}: unreadable (a text file)" in with_bad.warnings
            assert with_bad.fingerprint == clean.fingerprint
        broken.unlink()
        assert opened(root, cache).warnings == ()
        assert opened(root, cache, skip_bad_images=True).warnings == ()


class TestFingerprint:
    """It is of what is trained."""

    def test_it_stays_what_it_was(self, tmp_path: Path, cache: Path) -> None:
        """A change would part all studies from their images."""
        root = tmp_path / "i"
        for split in ("train/train1", "train/train2", "validation", "test"):
            for name in ("000_a", "001_b"):
                folder = root / split / name
                folder.mkdir(parents=True)
                header = b"BM" + (66).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
                size = (40, 2, 2, 1 + (24 << 16), 0, 12, 0, 0, 0, 0)
                info = b"".join(value.to_bytes(4, "little") for value in size)
                colour = bytes([len(split), len(name), ord(name[-1]), ord(split[-1])])
                (folder / "x.bmp").write_bytes(header + info + colour * 3 + colour)
        assert opened(root, cache).fingerprint == "79677222e2176cd9"

    @pytest.mark.parametrize("where", ["train/dark/00", "train/light/zz", "test/grey/zz"])
    def test_a_bad_image_counts_as_never_there(
        self, tmp_path: Path, cache: Path, where: str
    ) -> None:
        root = split_folder(tmp_path / "i")
        clean = opened(root, tmp_path / "other")
        (root / f"{where}.png").write_bytes(b"")
        data = opened(root, cache, skip_bad_images=True)
        assert data.fingerprint == clean.fingerprint
        assert data.train.parts == clean.train.parts
        np.testing.assert_array_equal(data.train.images, clean.train.images)
        np.testing.assert_array_equal(data.train.labels, clean.train.labels)
        assert len(data.formerly) == 1
        assert clean.formerly == ()

    def test_a_training_folder_of_bad_images_alone(self, tmp_path: Path, cache: Path) -> None:
        root = split_folder(tmp_path / "i")
        (root / "train").rename(root / "all")
        (root / "train").mkdir()
        (root / "all").rename(root / "train/train1")
        for name in ("dark", "grey", "light"):
            (root / "train/train2" / name).mkdir(parents=True)
        clean = opened(root, tmp_path / "other")
        (root / "train/train2/dark/bad.png").write_bytes(b"")
        data = opened(root, cache, skip_bad_images=True)
        assert data.train.parts == clean.train.parts == (36,)
        assert data.fingerprint == clean.fingerprint


class TestRepeats:
    """The same image in two splits or two classes is told, with how many and an example."""

    def test_in_two_splits(self, tmp_path: Path, cache: Path) -> None:
        root = split_folder(tmp_path / "i")
        first = min((root / "validation/dark").iterdir())
        shutil.copy(first, root / "test/dark/again.png")
        (line,) = opened(root, cache).warnings
        assert line.startswith("1 of the test images are validation images too, pixel for pixel")
        assert f"({root}/test/dark/again.png is {first})" in line

    def test_in_two_classes_and_in_another_file_format(self, tmp_path: Path, cache: Path) -> None:
        root = split_folder(tmp_path / "i")
        for file in sorted((root / "train/dark").iterdir())[:2]:
            with Image.open(file) as image:
                image.save(root / "train/light" / f"again {file.stem}.bmp")
        for _ in range(2):
            (line,) = opened(root, cache).warnings
            assert line.startswith("2 images are in two classes, pixel for pixel")
            assert "in 'dark' is " in line


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a full disk, but for the error's number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestAFullDisk:
    """One line, and nothing left behind."""

    @pytest.mark.parametrize("size", [0, 100, 5_000])
    @pytest.mark.parametrize("what", ["folder", "digits", "part"])
    def test_during_any_write(self, tmp_path: Path, cache: Path, what: str, size: int) -> None:
        root = image_folder(tmp_path / "i", each=40)
        if what == "part":
            opened(root, cache)
        pytest.importorskip("sklearn.datasets")  # which tries to write as it is imported
        name = "digits" if what == "digits" else str(root)
        images = 90 if what == "part" else None
        there = sorted(path for path in cache.rglob("*") if path.is_file())
        with no_file_above(size), pytest.raises(DataError) as caught:
            load(name, image_size=8, cache=cache, images=images)
        assert str(caught.value).startswith(f"cannot write decoded images to {cache}: File too")
        assert len(str(caught.value).splitlines()) == 1
        assert sorted(path for path in cache.rglob("*") if path.is_file()) == there

    @pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tmpfs")
    @pytest.mark.parametrize("room", ["20k", "100k"])
    def test_a_small_file_system(self, tmp_path: Path, room: str) -> None:
        """In a process of its own: writing to a mapping of a full disk would kill it."""
        root = image_folder(tmp_path / "i", each=100, side=16)
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk], check=False
        )
        if mounted.returncode:
            pytest.skip("may not mount")
        try:
            program = (
                "import sys; sys.path.insert(0, sys.argv[1])\n"
                "from pathlib import Path; from data.catalog import load\n"
                "load(sys.argv[2], image_size=32, cache=Path(sys.argv[3]))"
            )
            done = subprocess.run(
                [sys.executable, "-c", program, ROOT, root, disk],
                check=False,
                capture_output=True,
                text=True,
                cwd=tmp_path,
            )
            assert done.returncode == 1
            assert "DataError: cannot write decoded images" in done.stderr.splitlines()[-1]
            assert "No space left on device; free space" in done.stderr
            assert not [path for path in disk.rglob("*") if path.is_file()]
        finally:
            subprocess.run(["umount", disk], check=True)


class TestInterrupted:
    """Nothing of an interrupted decoding stays, at the latest after the next start."""

    PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from data.temporary import own_folder
with own_folder(Path(sys.argv[2])) as folder:
    (folder / "images.npy").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""

    def filling(self, parent: Path) -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, ROOT, parent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().removesuffix("\n"))

    def ended(self, process: "subprocess.Popen[str]") -> int:
        process.communicate()
        return process.returncode

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_nothing(self, tmp_path: Path, number: signal.Signals) -> None:
        process, folder = self.filling(tmp_path / "decoded")
        assert folder.is_dir()
        process.send_signal(number)
        assert self.ended(process) == 128 + number
        assert not folder.exists()

    def test_what_a_killed_process_left_goes_and_what_a_live_one_fills_stays(
        self, tmp_path: Path, cache: Path
    ) -> None:
        for name in ("decoded", "downloads"):
            killed, left = self.filling(cache / name)
            live, filled = self.filling(cache / name)
            killed.kill()
            self.ended(killed)
            assert left.is_dir()
            load("digits", image_size=8, cache=cache)
            assert not left.exists()
            assert filled.is_dir()
            self.ended(live)

    def test_a_number_that_another_process_has_now(self, tmp_path: Path) -> None:
        ours = tmp_path / own_name()
        machine, pid, started, rest = ours.name.split("-")
        theirs = tmp_path / f"{machine}-{pid}-{int(started) + 1}-{rest}"
        for folder in (ours, theirs):
            folder.mkdir()
        sweep(tmp_path)
        assert ours.exists()
        assert not theirs.exists()

    def test_what_other_machines_write_is_left_alone_for_a_day(self, tmp_path: Path) -> None:
        young, old, filled = (tmp_path / f".0badcafe-1-1-0000000{n}" for n in range(3))
        for folder in (young, old, filled):
            folder.mkdir()
        (tmp_path / "1234567890abcdef").mkdir()
        (filled / "images.npy").touch()
        for folder in (old, filled, tmp_path / "1234567890abcdef"):
            os.utime(folder, (0, 0))
        (tmp_path / f".{'0' * 32}").touch()  # as an earlier version named what it wrote
        os.utime(tmp_path / f".{'0' * 32}", (0, 0))
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            *(young.name, filled.name, "1234567890abcdef"),
        }

    def test_without_proc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on macOS."""

        def missing(*_: object, **__: object) -> str:
            raise FileNotFoundError

        temporary._machine.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", missing)
            with own_folder(tmp_path) as folder:
                sweep(tmp_path)
                assert folder.is_dir()
        temporary._machine.cache_clear()
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_done_to_a_handler_that_is_there(self, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with own_folder(tmp_path):
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is before


def test_names_that_are_no_text(tmp_path: Path, cache: Path) -> None:
    root = image_folder(tmp_path / "i")
    try:
        odd = (root / "dark").rename(root / os.fsdecode(b"caf\xe9"))
        root = root.rename(tmp_path / os.fsdecode(b"im\xe9"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (root / odd.name / "bad.png").write_bytes(b"")
    for _ in range(2):
        data = opened(root, cache, skip_bad_images=True)
        assert r"caf\xe9" in data.classes
        assert json.loads(json.dumps(data.source)) == data.source
        assert data.warnings[0].startswith("left out ")


def test_without_a_home_the_cache_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(DataError, match="set HOME or XDG_CACHE_HOME"):
        Cache.default({})
    assert Cache.default({"XDG_CACHE_HOME": "/x"}).root == Path("/x/treino")
