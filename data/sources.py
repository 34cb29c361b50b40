"""Data sets with names: CIFAR-10, Fashion-MNIST and scikit-learn's digits."""

import gzip
import hashlib
import struct
import tarfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import Cache
from data.dataset import FORMAT, SPLITS, DataError, Dataset
from data.download import Remote, fetch
from data.pixels import to_square
from data.progress import Progress, silent
from data.split import SHARES, stratified

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Raw = dict[str, tuple[Images, Labels, tuple[int, ...]]]
"""For each split its images, (n, height, width) or (n, height, width, 3), labels and parts."""

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# The binary version: the Python version is a pickle, which could run code.
CIFAR10 = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_CIFAR10_RECORD = 1 + 32 * 32 * 3  # bytes: label, then one plane per colour

FASHION_CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
_FASHION_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
FASHION = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}


def cifar10(
    cache: Cache, *, side: int, progress: Progress = silent, remote: Remote | None = None
) -> Dataset:
    """CIFAR-10, split as in the report: 40,000 in four parts, 10,000 and 10,000.

    Raises:
        DataError: It is not in the cache, and the download failed.
    """
    archive_at = remote or CIFAR10

    def read() -> Raw:
        archive = fetch(archive_at, cache.downloads, progress)
        batches = _cifar10_batches(archive)
        train = [batches[f"data_batch_{number}.bin"] for number in range(1, 5)]
        return {
            "train": (
                np.concatenate([images for images, _ in train]),
                np.concatenate([labels for _, labels in train]),
                tuple(len(labels) for _, labels in train),
            ),
            "validation": _one_part(*batches["data_batch_5.bin"]),
            "test": _one_part(*batches["test_batch.bin"]),
        }

    key = f"cifar10 {archive_at.checksum}"
    return _decoded(
        cache, key, "cifar10", f"CIFAR-10, {archive_at.url}", CIFAR10_CLASSES, side, read
    )


def fashion_mnist(
    cache: Cache,
    *,
    side: int,
    seed: int,
    progress: Progress = silent,
    folder: Path = FASHION_FOLDER,
) -> Dataset:
    """Fashion-MNIST: 50,000 and 10,000 of the training images, seeded and stratified, 10,000.

    Raises:
        DataError: Debian's package is not installed, and the download failed.
    """
    local = all((folder / name).is_file() for name in FASHION)
    source = f"Fashion-MNIST in {folder}" if local else f"Fashion-MNIST, {_FASHION_URL}"

    def read() -> Raw:
        def array(name: str) -> Images:
            if local:
                return read_idx(folder / name)
            remote = Remote(_FASHION_URL + name, FASHION[name])
            return read_idx(fetch(remote, cache.downloads, progress))

        images, labels = array("train-images-idx3-ubyte.gz"), array("train-labels-idx1-ubyte.gz")
        test = array("t10k-images-idx3-ubyte.gz"), array("t10k-labels-idx1-ubyte.gz")
        if len(images) != len(labels) or len(test[0]) != len(test[1]):
            raise DataError(f"{source}: the numbers of labels and images differ")
        shares = {"train": Fraction(5, 6), "validation": Fraction(1, 6)}
        rows = stratified(labels.astype(np.int32), seed, shares)
        return {
            **{split: _one_part(images[own], labels[own]) for split, own in rows.items()},
            "test": _one_part(*test),
        }

    key = f"fashion-mnist {seed} {_state_of(folder) if local else FASHION}"
    return _decoded(cache, key, "fashion-mnist", source, FASHION_CLASSES, side, read)


def digits(cache: Cache, *, side: int, seed: int) -> Dataset:
    """Scikit-learn's 1,797 digits, split 80/10/10, seeded and stratified. Works offline."""

    def read() -> Raw:
        from sklearn.datasets import load_digits

        loaded = load_digits()
        images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)  # 0 to 16 in the original
        labels = loaded.target.astype(np.int32)
        rows = stratified(labels, seed, SHARES)
        return {split: _one_part(images[own], labels[own]) for split, own in rows.items()}

    classes = tuple(str(digit) for digit in range(10))
    source = "the digits that come with scikit-learn"
    return _decoded(cache, f"digits {seed}", "digits", source, classes, side, read)


def read_idx(path: Path) -> Images:
    """An array of bytes in the IDX format of the MNIST family, gzipped.

    Raises:
        DataError: The file has another format, or is damaged.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        zero, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        if zero != 0 or kind != 8:  # 8: unsigned bytes
            raise ValueError("not an array of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is not a readable IDX file ({error})") from error


def _cifar10_batches(archive: Path) -> dict[str, tuple[Images, Labels]]:
    """The archive's batches by file name; nothing is unpacked to disk."""
    batches = {}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = Path(member.name).name
                file = members.extractfile(member)
                if file is None or (not name.endswith("_batch.bin") and "data_batch_" not in name):
                    continue
                records = np.frombuffer(file.read(), np.uint8).reshape(-1, _CIFAR10_RECORD)
                images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                batches[name] = (images, records[:, 0].astype(np.int32))
        wanted = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
        if missing := [name for name in wanted if name not in batches]:
            raise ValueError(f"{missing[0]} is missing")
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{archive} is not CIFAR-10's binary archive ({error})") from error
    return batches


def _one_part(images: Images, labels: npt.NDArray[np.generic]) -> tuple[Images, Labels, tuple[int]]:
    return images, labels.astype(np.int32), (len(labels),)


def _state_of(folder: Path) -> list[tuple[int, int]]:
    status = [(folder / name).stat() for name in FASHION]
    return [(file.st_size, file.st_mtime_ns) for file in status]


def _decoded(
    cache: Cache,
    key: str,
    name: str,
    source: str,
    classes: tuple[str, ...],
    side: int,
    read: Callable[[], Raw],
) -> Dataset:
    """The data set of ``key``, from the cache or read now."""
    fingerprint = hashlib.sha256(f"{key} {FORMAT} {side}".encode()).hexdigest()[:16]
    dataset = cache.find(fingerprint)
    if dataset is not None:
        return cache.renamed(dataset, name, source)
    raw = read()
    with cache.entry() as entry:
        for split in SPLITS:
            images, labels, _ = raw[split]
            entry.finish(split, to_square(images, side), labels)
        return entry.commit(
            fingerprint,
            name=name,
            source=source,
            classes=classes,
            parts={split: raw[split][2] for split in SPLITS},
        )
