"""Decode image files of any format, size and mode to square RGB arrays, with size limits."""

import errno
import functools
import hashlib
import io
import json
import os
import stat
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from data.cache import Cache, Images
from data.dataset import FORMAT, SPLITS, DataError, Dataset
from data.filetype import HEIC, READ, kind_of
from data.folder import MAX_FILE_BYTES, SHOWN, Found, ImageFile, Scan
from data.metadata import without_metadata
from data.names import former_class_names
from data.pixels import resize, smaller, to_rgb, white_of
from data.progress import Progress, silent
from data.repeats import Looked, repeats
from data.tree import heic_readable

MAX_PIXELS = 250_000_000  # per image: phones take 200 million; a tiny file can claim far more
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
# Larger images are reduced while they are read, or in strips: in full and in colour, with
# intermediate copies, one could take gigabytes.
_WHOLE = 50_000_000
_AT_ONCE = 200_000_000  # pixels that all threads together hold, except small images
_SMALL = 1_000_000
_TOGETHER = 256  # files per task of a thread, or as many as fill _BYTES
_BYTES = 8 * 2**20
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Errors that say nothing about the file: skipping the file would hide the actual fault.
_NOT_THE_FILE = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class _RefusedError(ValueError):
    """An image that treino refuses to decode, with or without its metadata."""


class _Room:
    """A pixel budget shared by threads; an image larger than the budget is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self._all = pixels
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._all)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


_room = _Room(_AT_ONCE)


def load_folder(
    scanned: Scan,
    cache: Cache,
    *,
    side: int,
    seed: int,
    skip_bad: bool,
    progress: Progress = silent,
) -> Dataset:
    """Load the images of a scanned folder, from the cache or by decoding them.

    Name, source and warnings are those of this folder, even if the same content was decoded from
    another one before.

    Raises:
        DataError: Images are unreadable and not skipped, or a file may not be read.
    """
    key = _quick_key(scanned, side, seed, skip_bad)
    note = _Note.from_text(cache.remembered(key))
    dataset = cache.find(note.fingerprint) if note else None
    if dataset is None or note is None:
        dataset, note = _decode(scanned, cache, side, skip_bad, progress)
        cache.remember(key, note.text)
    dataset = cache.renamed(dataset, scanned.name, scanned.source)
    return replace(dataset, warnings=note.warnings, formerly=note.formerly)


def decode(content: bytes, side: int) -> npt.NDArray[np.uint8]:
    """Decode the content of an image file to (side, side, 3).

    The image is rotated by its EXIF orientation, transparent pixels are put over white, and it is
    stretched to a square. Of several frames or pages the first is used.

    Raises:
        ValueError: It is not a readable image, or too large; the message says which.
    """
    kind = kind_of(content)
    if kind == HEIC and not heic_readable():
        raise ValueError(
            "unreadable (a HEIC image: `.venv/bin/pip install pillow-heif` makes it readable)"
        )
    if kind not in (*READ, HEIC):
        raise ValueError(f"unreadable ({kind})")
    try:
        return _decode_content(content, kind, side)
    except (_RefusedError, MemoryError) as error:
        raise ValueError(str(error) or "unreadable (not enough memory)") from error
    except Exception as error:  # Pillow raises almost anything for damaged files
        bare = without_metadata(content)
        if bare != content:
            try:
                return _decode_content(bare, kind, side)
            except Exception:  # noqa: BLE001, S110 - the fault was not in the metadata
                pass
        raise ValueError(f"unreadable (a damaged {kind} image{_reason(error)})") from error


def decode_file(path: Path, side: int) -> npt.NDArray[np.uint8]:
    """Decode an image file to (side, side, 3), like an image of a data set.

    Raises:
        ValueError: It is not a file, not a readable image, or too large; the message says which.
    """
    try:
        status = path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # older Pythons: circular links, NUL
        raise ValueError(f"unreadable ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("a folder, not an image")
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
        raise ValueError("not a regular file")
    return decode(_content(path, status.st_size), side)


@functools.cache
def _formats(kind: str) -> tuple[str, ...]:
    if kind != HEIC:
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _decode_content(content: bytes, kind: str, side: int) -> npt.NDArray[np.uint8]:
    Image.MAX_IMAGE_PIXELS = None  # Pillow's limit is below what phones take; treino's is below
    with Image.open(io.BytesIO(content), formats=_formats(kind)) as file:
        pixels = file.width * file.height
        if pixels > MAX_PIXELS:
            raise _RefusedError(
                f"{file.width}x{file.height} pixels are more than the {MAX_PIXELS:,} allowed"
            )
        with _room.taken(pixels) if pixels > _SMALL else nullcontext():
            if pixels > _WHOLE:
                file.draft(None, (4 * side, 4 * side))  # only JPEG can be read at a reduced size
            file.load()
            turn = _turn(file)
            white = white_of(file)
            image: Image.Image = file
            if file.width * file.height > _WHOLE:
                image, white = smaller(file, side, white), 0
            if turn is not None:
                image = image.transpose(turn)
            return resize(to_rgb(image, white), side)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that puts an image upright; None if there is none."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a damaged block has no orientation; the pixels are intact
        return None


def _reason(error: Exception) -> str:
    """A library's message about a damaged file, if it is fit to be shown."""
    text = " ".join(str(error).split())
    return f": {text[:150]}" if text and " object at 0x" not in text else ""


@dataclass(frozen=True)
class _Note:
    """What the cache stores about a folder besides its decoded images."""

    fingerprint: str
    warnings: tuple[str, ...]
    formerly: tuple[str, ...]

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))  # in ASCII, whatever names hold

    @classmethod
    def from_text(cls, text: str | None) -> "_Note | None":
        try:
            values = json.loads(text or "")
            return cls(
                str(values["fingerprint"]), tuple(values["warnings"]), tuple(values["formerly"])
            )
        except (ValueError, KeyError, TypeError):
            return None


def _decode(
    scanned: Scan, cache: Cache, side: int, skip_bad: bool, progress: Progress
) -> tuple[Dataset, _Note]:
    total = sum(len(split.files) for split in scanned.splits.values())
    digests: dict[str, list[bytes]] = {}
    bad: dict[str, dict[int, str]] = {}
    kept: dict[str, Found] = {}
    looked: list[Looked] = []
    with cache.entry() as entry:
        done = 0
        for name, split in scanned.splits.items():
            images = entry.images(name, len(split.files), side)
            digests[name], bad[name] = [], {}
            for row, (digest, pixels, reason) in enumerate(_decode_all(split.files, images)):
                if reason:
                    bad[name][row] = reason
                else:
                    digests[name].append(digest)
                    looked.append(Looked(pixels, name, split.labels[row], split.files[row].path))
                done += 1
                if done % _TOGETHER == 0 or done == total:
                    progress("decoding images", done, total)
                    entry.touch()
            if bad[name] and not skip_bad:
                continue  # continue, to list those of the other splits too
            kept[name] = _without(split, bad[name])
            labels = np.array(kept[name].labels, np.int32)
            _check_classes_left(scanned, name, labels)
            keep = np.array([row not in bad[name] for row in range(len(split.files))])
            entry.finish(name, images, labels, keep)
        listed = [
            f"{scanned.splits[name].files[row].path}: {reason}"
            for name, reasons in bad.items()
            for row, reason in reasons.items()
        ]
        if listed and not skip_bad:
            raise DataError(
                f"{_some(listed)}: fix or remove {'it' if len(listed) == 1 else 'them'}, or "
                "have bad images left out with --skip-bad-images"
            )
        fingerprint = _fingerprint(scanned.classes, kept, digests, side)
        # Earlier versions counted skipped images and named classes differently. Studies have
        # those fingerprints.
        before = {
            _fingerprint(classes, splits, digests, side)
            for classes in (scanned.classes, former_class_names(scanned.classes))
            for splits in (kept, scanned.splits)
        }
        note = _Note(
            fingerprint,
            (*([f"left out {_some(listed)}"] if listed else ()), *repeats(looked, scanned.classes)),
            tuple(sorted(before - {fingerprint})),
        )
        dataset = entry.commit(
            fingerprint,
            name=scanned.name,
            source=scanned.source,
            classes=scanned.classes,
            parts={name: split.parts for name, split in kept.items()},
        )
        return dataset, note


def _decode_all(files: Sequence[ImageFile], images: Images) -> Iterator[tuple[bytes, bytes, str]]:
    """Fill ``images``; yields per file its digest, its pixels' digest, and why it is bad."""
    stop = threading.Event()
    together = max(1, min(_TOGETHER, _BYTES // images.bytes_each))

    def decode_some(start: int) -> list[tuple[bytes, bytes, str]]:
        some = files[start : start + together]
        pixels = np.zeros((len(some), *images.shape), np.uint8)
        told = [
            _decode_one(file, place)
            for file, place in zip(some, pixels, strict=True)
            if not stop.is_set()
        ]
        images.put(start, pixels)
        return told

    # Pillow releases the GIL while it decodes, so threads are enough.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # about odd images; what matters is raised as an error
        try:
            for some in pool.map(decode_some, range(0, len(files), together)):
                yield from some
        finally:
            stop.set()  # after Ctrl-C the pool waits for started tasks


def _decode_one(file: ImageFile, place: npt.NDArray[np.uint8]) -> tuple[bytes, bytes, str]:
    try:
        content = _content(file.path, file.size)
        place[:] = decode(content, len(place))
    except ValueError as error:
        cause = error.__cause__
        if isinstance(cause, PermissionError):
            raise DataError(f"no permission to read {file.path}: change its permissions") from error
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) in _NOT_THE_FILE:
            raise DataError(f"{file.path}: {error}") from error
        return b"", b"", str(error)
    return hashlib.sha256(content).digest(), hashlib.sha256(place.data).digest(), ""


def _content(path: Path, size: int) -> bytes:
    """Read a file's content.

    Raises:
        ValueError: The file is too large, or cannot be read (the cause is the OSError).
    """
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size:,} bytes are more than the {MAX_FILE_BYTES:,} allowed")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"unreadable ({error.strerror or error})") from error


def _check_classes_left(scanned: Scan, split: str, labels: npt.NDArray[np.int32]) -> None:
    for number, name in enumerate(scanned.classes):
        if number not in labels:
            raise DataError(
                f"class {name!r} in {scanned.root} has no readable image left for {split}: add some"
            )


def _some(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return "; ".join(listed[:SHOWN]) + more


def _without(split: Found, bad: Collection[int]) -> Found:
    """A split without the files in the rows ``bad``."""
    if not bad:
        return split
    keep = [row not in bad for row in range(len(split.files))]
    starts = np.cumsum((0, *split.parts))
    parts = [sum(keep[a:b]) for a, b in pairwise(starts)]
    return Found(
        tuple(file for file, kept in zip(split.files, keep, strict=True) if kept),
        tuple(label for label, kept in zip(split.labels, keep, strict=True) if kept),
        tuple(part for part in parts if part),
    )


def _fingerprint(
    classes: tuple[str, ...],
    splits: Mapping[str, Found],
    digests: Mapping[str, Sequence[bytes]],
    side: int,
) -> str:
    """A digest of the images, independent of the folder's place."""
    whole = hashlib.sha256(f"folder {FORMAT} {side} {classes}".encode())
    for name in SPLITS:
        whole.update(f"{name} {splits[name].parts}".encode())
        whole.update(b"".join(digests[name]))
        whole.update(repr(splits[name].labels).encode())
    return whole.hexdigest()[:16]


def _quick_key(scanned: Scan, side: int, seed: int, skip_bad: bool) -> str:
    """A digest of names, sizes and times, made without reading 60,000 files."""
    # The readable formats decide which files are left out.
    whole = hashlib.sha256(
        f"folder {FORMAT} {side} {seed} {skip_bad} {READ} {heic_readable()}\0".encode()
    )
    whole.update(os.fsencode(scanned.root.resolve()))
    for name, split in scanned.splits.items():
        whole.update(name.encode())
        for file in split.files:
            whole.update(
                f"{file.place}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape")
            )
    return whole.hexdigest()
