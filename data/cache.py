"""Cache of decoded images in ``~/.cache/treino``, keyed by content. Entries are complete."""

import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from data.dataset import FORMAT, META, SPLITS, DataError, Dataset, array_file
from data.temporary import own_folder, own_name, sweep

_ROWS = 1024  # images per write


@dataclass(frozen=True)
class Cache:
    """A folder with decoded data sets and their downloads."""

    root: Path

    @classmethod
    def default(cls, environ: Mapping[str, str] = os.environ) -> "Cache":
        """``$XDG_CACHE_HOME/treino``, or ``~/.cache/treino``.

        Raises:
            DataError: Neither that variable nor the user's home folder is known.
        """
        base = environ.get("XDG_CACHE_HOME")
        if not base:
            try:
                base = str(Path.home() / ".cache")
            except RuntimeError as error:  # such as an unknown user in a container
                raise DataError(
                    "no home folder for decoded images: set HOME or XDG_CACHE_HOME to a "
                    "writable folder"
                ) from error
        return cls(Path(base) / "treino")

    @property
    def downloads(self) -> Path:
        """Folder of downloaded archives."""
        return self.root / "downloads"

    def find(self, fingerprint: str) -> Dataset | None:
        """The decoded data set with that content; None if it is missing or damaged."""
        try:
            return Dataset.open(self._folder(fingerprint))
        except DataError:
            return None

    def remembered(self, key: str) -> str | None:
        """The text stored for a quick key; None if there is none."""
        try:
            return self._note(key).read_text(encoding="ascii")
        except (OSError, ValueError):
            return None

    def remember(self, key: str, text: str) -> None:
        """Store what a quick key stands for: its content and warnings."""
        with _told(self.root):
            _replace(self._note(key), text)

    def sweep(self) -> None:
        """Remove incomplete files of killed processes."""
        for folder in (self.downloads, self.root / "decoded", self.root / "index"):
            sweep(folder)

    def renamed(self, dataset: Dataset, name: str, source: str) -> Dataset:
        """The same data set under its current name and source.

        They are also stored in the decoded folder, for whoever opens it by its path. A read-only
        cache keeps those of the first decoding.
        """
        if (dataset.name, dataset.source) != (name, source):
            with suppress(OSError, ValueError):
                file = dataset.path / META
                meta = json.loads(file.read_text(encoding="utf-8"))
                _replace(file, json.dumps({**meta, "name": name, "source": source}, indent=2))
        return replace(dataset, name=name, source=source)

    @contextmanager
    def entry(self) -> Iterator["Entry"]:
        """A place to decode into; removed at the end of the block unless it was committed.

        Raises:
            DataError: The cache cannot be written.
        """
        with ExitStack() as stack:
            with _told(self.root):
                folder = stack.enter_context(own_folder(self.root / "decoded"))
            entry = Entry(self, folder)
            stack.callback(entry.close)
            yield entry

    def adopt(self, folder: Path, fingerprint: str) -> Dataset:
        """Move a complete decoded folder to its final place."""
        place = self._folder(fingerprint)
        for _ in range(3):
            cached = self.find(fingerprint)
            if cached is not None:  # another process was faster
                return cached
            # Rename an incomplete folder before removing it: removal takes time, and another
            # process may be at the same point.
            aside = place.with_name(own_name())
            with suppress(OSError):
                place.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):
                folder.rename(place)
        raise DataError(f"cannot store decoded images in {place}: is the folder writable?")

    def _folder(self, fingerprint: str) -> Path:
        return self.root / "decoded" / fingerprint

    def _note(self, key: str) -> Path:
        return self.root / "index" / key


class Images:
    """The images of a split on disk, (n, side, side, 3) in NumPy's format, written in pieces.

    They are not memory-mapped: a full disk kills a process that writes to a mapping, while a
    failed write can be reported. Several threads may write.

    Attributes:
        shape: Shape of an image.
        bytes_each: Size of an image.
    """

    def __init__(self, path: Path, count: int, side: int, root: Path) -> None:
        self.shape = (side, side, 3)
        self.bytes_each = side * side * 3
        self._root = root
        with _told(root):
            self._file = path.open("xb", buffering=0)
            try:
                header = _header((count, side, side, 3), np.dtype(np.uint8))
                self._start = len(header)
                self._write(header, 0)
                self._file.truncate(self._start + count * self.bytes_each)
            except OSError:
                self.abandon()
                raise

    def put(self, row: int, images: npt.NDArray[np.uint8]) -> None:
        """Write images, (n, side, side, 3), starting at a row.

        Raises:
            DataError: The file cannot be written.
        """
        with _told(self._root):
            self._write(images.data.cast("B"), self._start + row * self.bytes_each)

    def close(self) -> None:
        """Flush to disk. Some file systems report a full disk only here."""
        with _told(self._root):
            _flush(self._file)
            self._file.close()

    def abandon(self) -> None:
        """Close the file without keeping it."""
        with suppress(OSError):
            self._file.close()

    def _write(self, content: bytes | memoryview, at: int) -> None:
        left = memoryview(content)
        while left:  # a nearly full disk takes a part first
            written = os.pwrite(self._file.fileno(), left, at)
            left, at = left[written:], at + written


class Entry:
    """A data set being decoded, in its own folder."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self._cache = cache
        self._folder = folder
        self._files: list[Images] = []

    def close(self) -> None:
        """Close unfinished files."""
        for images in self._files:
            images.abandon()

    def images(self, split: str, count: int, side: int) -> Images:
        """An array file for the split's images, to be filled.

        Raises:
            DataError: The cache cannot be written.
        """
        file = array_file(self._folder, split, "images")
        images = Images(file, count, side, self._cache.root)
        self._files.append(images)
        return images

    def touch(self) -> None:
        """Show other machines that share the cache that this process is still working."""
        with suppress(OSError):
            os.utime(self._folder)

    def receive(self, file: str, start: int, content: npt.NDArray[np.uint8]) -> None:
        """Write a part of a file of the data set as another machine has decoded it.

        Args:
            file: Name of the file, as in ``files_of``.
            start: Position in the file. Parts of a file come in order.
            content: (n,) bytes.

        Raises:
            DataError: The cache cannot be written.
        """
        with _told(self._cache.root), (self._folder / file).open("ab") as to:
            to.truncate(start)
            to.write(content.data)
            _flush(to)

    def complete(self, fingerprint: str) -> Dataset:
        """Move what was received into the cache under its fingerprint, and open it.

        Raises:
            DataError: A file is missing or has another size.
        """
        Dataset.open(self._folder)
        return self._cache.adopt(self._folder, fingerprint)

    def finish(
        self,
        split: str,
        images: npt.NDArray[np.uint8] | Images,
        labels: npt.NDArray[np.int32],
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Complete a split: the images of the rows where ``keep`` is true, and the labels.

        Raises:
            DataError: The cache cannot be written.
        """
        file = array_file(self._folder, split, "images")
        if isinstance(images, Images):
            images.close()
            if keep is not None and not keep.all():
                whole = np.load(file, mmap_mode="r", allow_pickle=False)
                file.unlink()
                self._save(file, whole, np.flatnonzero(keep))
        else:
            self._save(file, images)
        self._save(array_file(self._folder, split, "labels"), labels.astype(np.int32))

    def _save(
        self,
        file: Path,
        array: npt.NDArray[Any],
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Write an array, or some of its rows, in NumPy's format, in pieces.

        `numpy.save` does not report why a write failed, and needs all rows in memory.
        """
        count = len(array) if rows is None else len(rows)
        with _told(self._cache.root), file.open("xb") as to:
            to.write(_header((count, *array.shape[1:]), array.dtype))
            for start in range(0, count, _ROWS):
                some = slice(start, start + _ROWS)
                to.write((array[some] if rows is None else array[rows[some]]).tobytes())
            _flush(to)

    def commit(
        self,
        fingerprint: str,
        *,
        name: str,
        source: str,
        classes: Sequence[str],
        parts: Mapping[str, Sequence[int]],
    ) -> Dataset:
        """Move the entry into the cache under its fingerprint, and open it."""
        meta = {
            "format": FORMAT,
            "name": name,
            "source": source,
            "classes": list(classes),
            "fingerprint": fingerprint,
            "warnings": [],  # earlier versions read it
            "splits": {
                split: {
                    "parts": [int(size) for size in parts[split]],
                    "bytes": {
                        what: array_file(self._folder, split, what).stat().st_size
                        for what in ("images", "labels")
                    },
                }
                for split in SPLITS
            },
        }
        with _told(self._cache.root):
            # In ASCII: folder names may not be valid in any encoding.
            (self._folder / META).write_text(json.dumps(meta, indent=2), encoding="ascii")
        return self._cache.adopt(self._folder, fingerprint)


def _header(shape: tuple[int, ...], kind: np.dtype[Any]) -> bytes:
    header = io.BytesIO()
    description = np.lib.format.dtype_to_descr(kind)
    np.lib.format.write_array_header_1_0(
        header, {"descr": description, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def _flush(file: IO[bytes]) -> None:
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise  # fsync is supported here and failed


def _replace(path: Path, text: str) -> None:
    """Write a text atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(own_name())
    try:
        temporary.write_text(text, encoding="ascii")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _told(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write decoded images to {root}: {error.strerror or error}; "
            "free space, make it writable, or set XDG_CACHE_HOME to another folder"
        ) from error
