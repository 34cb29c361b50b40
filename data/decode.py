"""Image files to arrays: every format, size and mode to square RGB, with limits on what is read."""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from data.cache import Cache
from data.dataset import FORMAT, SPLITS, DataError, Dataset
from data.folder import MAX_FILE_BYTES, SHOWN, ImageFile, Scan
from data.progress import Progress, silent

MAX_PIXELS = 50_000_000  # of one image: a file of a few bytes can claim to be far larger
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
BACKGROUND = (255, 255, 255, 255)  # what shows through transparent pixels
_TOGETHER = 256  # files that a thread takes at a time


def load_folder(
    found: Scan,
    cache: Cache,
    *,
    side: int,
    seed: int,
    skip_bad: bool,
    progress: Progress = silent,
) -> Dataset:
    """The images of a scanned folder, decoded now or found in the cache.

    Raises:
        DataError: Images are unreadable and not to be skipped, or a file may not be read.
    """
    key = _quick_key(found, side, seed, skip_bad)
    known = cache.remembered(key)
    dataset = cache.find(known) if known else None
    if dataset is None:
        dataset = _decode(found, cache, side, skip_bad, progress)
        cache.remember(key, dataset.fingerprint)
    return dataset


def to_square(images: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Images (n, height, width) or (n, height, width, 3) as (n, side, side, 3)."""
    if images.ndim == 4 and images.shape[1:3] == (side, side):
        return images
    return np.stack([_resize(Image.fromarray(image).convert("RGB"), side) for image in images])


def decode(content: bytes, side: int) -> npt.NDArray[np.uint8]:
    """One image file's content as (side, side, 3).

    Turned as its EXIF data say, transparent pixels over white, stretched to a square.

    Raises:
        ValueError: It is no image that can be read, or too large a one; the message says which.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} allowed"
                )
            turned = ImageOps.exif_transpose(image)
            return _resize(_to_rgb(turned), side)
    except ValueError:
        raise
    except Image.DecompressionBombError as error:  # so large that Pillow looks no further
        raise ValueError(f"more pixels than the {MAX_PIXELS:,} allowed") from error
    except Exception as error:  # Pillow meets damaged files with almost anything
        raise ValueError(f"unreadable ({type(error).__name__}: {error})") from error


def decode_file(path: Path, side: int) -> npt.NDArray[np.uint8]:
    """One image file as (side, side, 3), with the limits and in the way of a data set's.

    Raises:
        ValueError: It is no file, no image that can be read, or too large; the message says which.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"unreadable ({error.strerror or error})") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
        raise ValueError("no file of its own")
    return decode(_content(path, status.st_size), side)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        # Sixteen bits a pixel: convert("RGB") would cut all but the darkest to white.
        grey = np.clip(np.asarray(image, np.float64) / 257, 0, 255)
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image.convert("RGB")


def _resize(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def _decode(found: Scan, cache: Cache, side: int, skip_bad: bool, progress: Progress) -> Dataset:
    total = sum(len(split.files) for split in found.splits.values())
    digests: dict[str, list[bytes]] = {}
    bad: dict[str, dict[int, str]] = {}
    parts: dict[str, list[int]] = {}
    with cache.entry() as entry:
        done = 0
        for name, split in found.splits.items():
            images = entry.array(name, len(split.files), side)
            digests[name], bad[name] = [], {}
            for row, (digest, reason) in enumerate(_decode_all(split.files, images, side)):
                digests[name].append(digest)
                if reason:
                    bad[name][row] = reason
                done += 1
                if done % _TOGETHER == 0 or done == total:
                    progress("decoding images", done, total)
            if bad[name] and not skip_bad:
                continue  # go on, to list those of the other splits too
            keep = np.array([row not in bad[name] for row in range(len(split.files))])
            labels = np.array(split.labels, np.int32)
            _check_classes_left(found, name, labels[keep])
            entry.finish(name, images, labels, keep)
            starts = np.cumsum((0, *split.parts))
            parts[name] = [int(keep[a:b].sum()) for a, b in pairwise(starts)]
            digests[name] = [
                digest for digest, kept in zip(digests[name], keep, strict=True) if kept
            ]
        listed = [
            f"{found.splits[name].files[row].path}: {reason}"
            for name, reasons in bad.items()
            for row, reason in reasons.items()
        ]
        if listed and not skip_bad:
            raise DataError(
                f"{_some(listed)}: mend or remove {'it' if len(listed) == 1 else 'them'}, or leave "
                "bad images out with --skip-bad-images"
            )
        warnings_ = [f"left out {_some(listed)}"] if listed else []
        return entry.commit(
            _fingerprint(found, digests, side),
            name=found.root.resolve().name or "images",
            source=f"image folders in {found.root.resolve()}",
            classes=found.classes,
            parts=parts,
            warnings=[*warnings_, *_in_two_splits(digests)],
        )


def _decode_all(
    files: Sequence[ImageFile], images: npt.NDArray[np.uint8], side: int
) -> Iterator[tuple[bytes, str]]:
    """Fill ``images``; yields for each file its digest, and why it is bad, empty if it is not."""

    def decode_some(start: int) -> list[tuple[bytes, str]]:
        return [
            _decode_one(file, images[row], side)
            for row, file in enumerate(files[start : start + _TOGETHER], start)
        ]

    # Pillow lets go of the interpreter while it decodes: threads are enough.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of odd images; what matters is an error here
        for some in pool.map(decode_some, range(0, len(files), _TOGETHER)):
            yield from some


def _decode_one(file: ImageFile, place: npt.NDArray[np.uint8], side: int) -> tuple[bytes, str]:
    try:
        content = _content(file.path, file.size)
        place[:] = decode(content, side)
    except ValueError as error:
        if isinstance(error.__cause__, PermissionError):  # nothing that skipping should hide
            raise DataError(f"no permission to read {file.path}: change its permissions") from error
        return b"", str(error)
    return hashlib.sha256(content).digest(), ""


def _content(path: Path, size: int) -> bytes:
    """A file's content.

    Raises:
        ValueError: It is too large, or cannot be read (the cause is the OSError).
    """
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size:,} bytes are more than the {MAX_FILE_BYTES:,} allowed")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"unreadable ({error.strerror or error})") from error


def _check_classes_left(found: Scan, split: str, labels: npt.NDArray[np.int32]) -> None:
    for number, name in enumerate(found.classes):
        if number not in labels:
            raise DataError(
                f"class {name!r} in {found.root} has no readable image left for {split}: add some"
            )


def _in_two_splits(digests: dict[str, list[bytes]]) -> list[str]:
    """Warnings of images that a network could learn by heart before it is tested on them."""
    learned = set(digests["train"])
    return [
        f"{count:,} of the {split} images are training images too, byte for byte: accuracy on "
        "them is worth nothing"
        for split in ("validation", "test")
        if (count := sum(digest in learned for digest in digests[split]))
    ]


def _some(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return "; ".join(listed[:SHOWN]) + more


def _fingerprint(found: Scan, digests: dict[str, list[bytes]], side: int) -> str:
    """A digest of what is trained on, wherever the folder lies."""
    whole = hashlib.sha256(f"folder {FORMAT} {side} {found.classes}".encode())
    for name in SPLITS:
        whole.update(f"{name} {found.splits[name].parts}".encode())
        whole.update(b"".join(digests[name]))
        whole.update(repr(found.splits[name].labels).encode())
    return whole.hexdigest()[:16]


def _quick_key(found: Scan, side: int, seed: int, skip_bad: bool) -> str:
    """A digest of names, sizes and times: what can be told without reading 60,000 files."""
    whole = hashlib.sha256(
        f"folder {FORMAT} {side} {seed} {skip_bad} {found.root.resolve()}".encode()
    )
    for name, split in found.splits.items():
        whole.update(name.encode())
        for file in split.files:
            whole.update(
                f"{file.path}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape")
            )
    return whole.hexdigest()
