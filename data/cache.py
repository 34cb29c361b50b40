"""Decoded images in ``~/.cache/treino``: written once, whole, and found again by their content."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from data.dataset import FORMAT, META, SPLITS, DataError, Dataset, array_file


@dataclass(frozen=True)
class Cache:
    """A folder of decoded data sets, and of what was downloaded for them."""

    root: Path

    @classmethod
    def default(cls, environ: Mapping[str, str] = os.environ) -> "Cache":
        """``$XDG_CACHE_HOME/treino``, or ``~/.cache/treino``."""
        base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base) / "treino")

    @property
    def downloads(self) -> Path:
        """Where archives are kept as they were downloaded."""
        return self.root / "downloads"

    def find(self, fingerprint: str) -> Dataset | None:
        """The decoded data set of that content; None if there is none, or it is damaged."""
        try:
            return Dataset.open(self._folder(fingerprint))
        except DataError:
            return None

    def remembered(self, key: str) -> str | None:
        """The fingerprint that was noted for a quick key."""
        try:
            return self._note(key).read_text(encoding="ascii")
        except (OSError, ValueError):
            return None

    def remember(self, key: str, fingerprint: str) -> None:
        """Note which content a quick key stands for."""
        with _told(self.root):
            self._note(key).parent.mkdir(parents=True, exist_ok=True)
            temporary = self._note(f".{uuid.uuid4().hex}")
            temporary.write_text(fingerprint, encoding="ascii")
            temporary.replace(self._note(key))

    def entry(self) -> "Entry":
        """A place to decode into.

        Raises:
            DataError: The cache cannot be written.
        """
        return Entry(self, self.root / "decoded" / f".{uuid.uuid4().hex}")

    def adopt(self, folder: Path, fingerprint: str) -> Dataset:
        """Move a complete decoded folder to where its content is looked for."""
        place = self._folder(fingerprint)
        for _ in range(3):
            found = self.find(fingerprint)
            if found is not None:  # another process was faster
                return found
            # What is there and is not whole goes out of the way before it is removed: a removal
            # takes time, and another process may be at the same point.
            aside = place.with_name(f".{uuid.uuid4().hex}")
            with suppress(OSError):
                place.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):
                folder.rename(place)
        raise DataError(f"cannot keep decoded images in {place}: is the folder writable?")

    def _folder(self, fingerprint: str) -> Path:
        return self.root / "decoded" / fingerprint

    def _note(self, key: str) -> Path:
        return self.root / "index" / key


class Entry:
    """A data set being decoded, in a folder of its own; gone if it is not committed."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self._cache = cache
        self._folder = folder

    def __enter__(self) -> "Entry":
        with _told(self._cache.root):
            self._folder.mkdir(parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def array(self, split: str, count: int, side: int) -> npt.NDArray[np.uint8]:
        """The split's images on disk, (count, side, side, 3), to be filled."""
        with _told(self._cache.root):
            return np.lib.format.open_memmap(
                array_file(self._folder, split, "images"),
                mode="w+",
                dtype=np.uint8,
                shape=(count, side, side, 3),
            )

    def finish(
        self,
        split: str,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int32],
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Write a split; ``keep`` leaves out the images that it is false for."""
        file = array_file(self._folder, split, "images")
        with _told(self._cache.root):
            if isinstance(images, np.memmap):
                images.flush()
            if keep is not None and not keep.all():
                images, labels = images[keep], labels[keep]
                np.save(file, images, allow_pickle=False)
            elif not isinstance(images, np.memmap):
                np.save(file, images, allow_pickle=False)
            labels_file = array_file(self._folder, split, "labels")
            np.save(labels_file, labels.astype(np.int32), allow_pickle=False)

    def commit(
        self,
        fingerprint: str,
        *,
        name: str,
        source: str,
        classes: Sequence[str],
        parts: Mapping[str, Sequence[int]],
        warnings: Sequence[str] = (),
    ) -> Dataset:
        """Make the entry the cache's data set of that fingerprint, and open it."""
        meta = {
            "format": FORMAT,
            "name": name,
            "source": source,
            "classes": list(classes),
            "fingerprint": fingerprint,
            "warnings": list(warnings),
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
            text = json.dumps(meta, indent=2, ensure_ascii=False)
            (self._folder / META).write_text(text, encoding="utf-8")
        return self._cache.adopt(self._folder, fingerprint)


@contextmanager
def _told(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write decoded images to {root}: {error.strerror or error}; "
            "make room or make it writable, or set XDG_CACHE_HOME to another folder"
        ) from error
