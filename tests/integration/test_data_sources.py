"""Data sets by name: CIFAR-10 from a server of our own, Fashion-MNIST, the digits, and `auto`."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import catalog, sources
from data.cache import Cache
from data.catalog import load
from data.dataset import DataError
from data.download import Remote
from data.split import SHARES, stratified
from tests.support.pictures import image_folder

NOBODY = Remote("http://127.0.0.1:1/cifar-10-binary.tar.gz", "sha256:" + "0" * 64)


def archive(missing: str = "") -> bytes:
    """CIFAR-10's binary archive with twelve images a batch; every pixel is its batch's number."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
        for batch, name in enumerate(names, 1):
            records = np.full((12, 3073), batch, np.uint8)
            records[:, 0] = np.arange(12) % 10
            records[:, 1:1025] = 200  # the red plane
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            if name != missing:
                tar.addfile(info, io.BytesIO(records.tobytes()))
    return file.getvalue()


class Server(BaseHTTPRequestHandler):
    content = b""
    broken = False
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(404 if "nowhere" in self.path else 200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[: len(self.content) // 2] if self.broken else self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Remote]:
    Server.content, Server.broken, Server.asked = archive(), False, 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield remote(f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz")
        server.shutdown()


def remote(url: str) -> Remote:
    return Remote(url, f"sha256:{hashlib.sha256(Server.content).hexdigest()}")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


class TestCifar10:
    def test_four_parts_validation_and_test(self, served: Remote, cache: Cache) -> None:
        heard = []
        data = sources.cifar10(
            cache, side=32, remote=served, progress=lambda *told: heard.append(told)
        )
        assert data.classes[0] == "airplane"
        assert data.train.parts == (12, 12, 12, 12)
        assert [int(i[0, 0, 1]) for i in data.train.images[::12]] == [1, 2, 3, 4]
        assert tuple(data.validation.images[0, 5, 5]) == (200, 5, 5)
        assert tuple(data.test.images[0, 5, 5]) == (200, 6, 6)
        assert list(data.test.labels) == [*range(10), 0, 1]
        assert heard[-1][1:] == (len(Server.content),) * 2

    def test_what_is_there_is_not_asked_for_again(self, served: Remote, cache: Cache) -> None:
        sources.cifar10(cache, side=32, remote=served)
        sources.cifar10(cache, side=32, remote=served)
        assert sources.cifar10(cache, side=16, remote=served).input_shape == (16, 16, 3)
        assert Server.asked == 1

    @pytest.mark.parametrize("how", ["other content", "broken off", "refused", "not found"])
    def test_a_download_that_fails_is_one_line_and_leaves_nothing(
        self, served: Remote, cache: Cache, how: str
    ) -> None:
        url = served.url
        if how == "other content":
            Server.content = archive(missing="test_batch.bin")
        elif how == "broken off":
            Server.broken = True
        else:
            url = NOBODY.url if how == "refused" else served.url.replace("cifar", "nowhere")
        with pytest.raises(DataError) as caught:
            sources.cifar10(cache, side=32, remote=Remote(url, served.checksum))
        assert url in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert not [path for path in cache.root.rglob("*") if path.is_file()]

    def test_an_archive_that_lacks_a_batch(self, served: Remote, cache: Cache) -> None:
        Server.content = archive(missing="data_batch_3.bin")
        with pytest.raises(DataError, match=r"data_batch_3\.bin is missing"):
            sources.cifar10(cache, side=32, remote=remote(served.url))


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def fashion_folder(folder: Path, images: int = 120) -> Path:
    folder.mkdir()
    for name, count in (("train", images), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.broadcast_to(labels[:, None, None] * 20, (count, 28, 28)).astype(np.uint8)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(pixels))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return folder


class TestFashionMnist:
    def test_from_the_folder_of_a_package(self, tmp_path: Path, cache: Cache) -> None:
        data = sources.fashion_mnist(cache, side=32, seed=0, folder=fashion_folder(tmp_path / "f"))
        assert (len(data.train.labels), len(data.validation.labels)) == (100, 20)
        assert len(data.test.labels) == 20
        assert tuple(data.train.images[0, 3, 3]) == (data.train.labels[0] * 20,) * 3
        assert data.classes[9] == "ankle boot"

    @pytest.mark.skipif(not sources.FASHION_FOLDER.is_dir(), reason="the package is not installed")
    def test_the_package_itself(self, cache: Cache) -> None:
        data = sources.fashion_mnist(cache, side=8, seed=0)
        assert [len(s.labels) for s in (data.train, data.validation, data.test)] == [
            50_000,
            10_000,
            10_000,
        ]

    @pytest.mark.parametrize(
        "content",
        [b"", b"no gzip", gzip.compress(b"\0\0"), gzip.compress(b"\0\0\x08\x01\0\0\0\x09xyz")],
        # Named: gzip writes the time into its head, and all test processes must see one name.
        ids=["empty", "not gzip", "cut in its head", "cut in its data"],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.gz"
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            sources.read_idx(path)
        assert str(path) in str(caught.value)


def test_the_digits(cache: Cache) -> None:
    data = sources.digits(cache, side=32, seed=0)
    sizes = [len(split.labels) for split in (data.train, data.validation, data.test)]
    assert sum(sizes) == 1797
    assert sizes[1] == sizes[2] == 179
    assert data.train.images.max() == 255
    assert sources.digits(cache, side=32, seed=1).fingerprint != data.fingerprint


class TestAuto:
    """Which images it is, and the reason that is shown."""

    @pytest.fixture(autouse=True)
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "CIFAR10", NOBODY)

    def choose(self, tmp_path: Path, cache: Cache, **environ: str) -> tuple[str, str]:
        choice = load(image_size=8, cache=cache.root, environ=environ, folder=tmp_path)
        return choice.dataset.name, choice.reason

    def test_the_folder_of_the_variable(self, tmp_path: Path, cache: Cache) -> None:
        image_folder(tmp_path / "mine")
        image_folder(tmp_path / "Imagens")
        name, reason = self.choose(tmp_path, cache, TREINO_DATA=str(tmp_path / "mine"))
        assert name == "mine"
        assert reason.endswith("as TREINO_DATA says")

    def test_a_name_in_the_variable(self, tmp_path: Path, cache: Cache) -> None:
        assert self.choose(tmp_path, cache, TREINO_DATA="digits")[0] == "digits"

    def test_nothing_at_the_variable(self, tmp_path: Path, cache: Cache) -> None:
        with pytest.raises(DataError, match="no images 'nowhere'"):
            self.choose(tmp_path, cache, TREINO_DATA="nowhere")

    def test_the_documents_folder(self, tmp_path: Path, cache: Cache) -> None:
        image_folder(tmp_path / "Imagens")
        name, reason = self.choose(tmp_path, cache)
        assert name == "Imagens"
        assert "there is a folder ./Imagens" in reason

    def test_cifar_10(
        self, tmp_path: Path, cache: Cache, served: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sources, "CIFAR10", served)
        name, reason = self.choose(tmp_path, cache)
        assert name == "cifar10"
        assert "no TREINO_DATA and no folder ./Imagens" in reason

    def test_the_digits_and_why(self, tmp_path: Path, cache: Cache) -> None:
        name, reason = self.choose(tmp_path, cache)
        assert name == "digits"
        assert f"cannot download {NOBODY.url}: no connection" in reason

    def test_a_name_is_taken_at_its_word(self, tmp_path: Path, cache: Cache) -> None:
        with pytest.raises(DataError, match="no connection"):
            load("cifar10", cache=cache.root, folder=tmp_path)

    def test_an_unknown_name(self, tmp_path: Path, cache: Cache) -> None:
        with pytest.raises(DataError, match=r"cifar10, digits, fashion-mnist"):
            load("mnist", cache=cache.root, folder=tmp_path)
        assert catalog.NAMES == ("cifar10", "digits", "fashion-mnist")


class TestPaths:
    """A path is taken as it is written, whatever is in it."""

    def read(self, what: str, tmp_path: Path) -> str:
        return load(what, image_size=8, cache=tmp_path / "cache", folder=tmp_path).dataset.name

    @pytest.mark.parametrize(
        "name", ["~nobody-of-that-name", "~root", "~", "-", "a [b] c", "two\nl"]
    )
    def test_odd_names_of_folders(self, tmp_path: Path, name: str) -> None:
        image_folder(tmp_path / name)
        self.read(name, tmp_path)

    def test_a_home_folder(self, tmp_path: Path, scrubbed_home: Path) -> None:
        image_folder(scrubbed_home / "pictures")
        assert self.read("~/pictures", tmp_path) == "pictures"

    @pytest.mark.parametrize(
        "name",
        [
            *("~nobody-of-that-name/x", "x" * 300, "x/" * 3000, "nul\0byte", "loop/x", "\udce7"),
            *("\ud800", "", " ", "file:///x", "C:\\Users"),
        ],
    )
    def test_nothing_there(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(DataError) as caught:
            self.read(name, tmp_path)
        str(caught.value).encode()
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(("name", "target"), [("loop", "loop"), ("gone", "nowhere")])
    def test_links_that_lead_nowhere(self, tmp_path: Path, name: str, target: str) -> None:
        (tmp_path / name).symlink_to(target)
        with pytest.raises(DataError, match=f"{name}.*: check the path"):
            self.read(name, tmp_path)


@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), st.integers(0, 2**32))
def test_a_split_is_complete_disjoint_and_stratified(sizes: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(
        np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    )
    rows = stratified(labels, seed)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(len(labels)))
    for split, share in SHARES.items():
        counts = np.bincount(labels[rows[split]], minlength=len(sizes))
        assert counts.min() >= 1
        assert np.abs(counts - float(share) * np.array(sizes)).max() <= 2
    again = stratified(labels, seed)
    assert all((again[split] == rows[split]).all() for split in SHARES)
