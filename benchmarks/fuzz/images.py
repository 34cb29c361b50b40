"""Image files, what is written beside their pixels, and folders of them."""

import os
import struct
import warnings
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.fuzz.support import check_message, damage, damaged, examples, name
from data.catalog import load
from data.dataset import DataError
from data.decode import decode
from data.sources import read_idx

KINDS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "MPO")
SIDE = 8


def fuzz_images(number: int, folder: Path) -> None:
    """Image files and IDX files cut short and damaged."""
    kinds = [_encoded(kind) for kind in KINDS]

    @examples(number)
    @given(st.sampled_from(kinds), st.floats(0, 1), damage)
    def images(content: bytes, cut: float, changes: list[tuple[float, int]]) -> None:
        try:
            assert _decoded(damaged(content, cut, changes)).shape == (SIDE, SIDE, 3)
        except ValueError as error:
            check_message(error)

    @examples(number // 4)
    @given(st.binary(max_size=60))
    def idx(content: bytes) -> None:
        path = folder / "array.gz"
        path.write_bytes(struct.pack(">HBB", 0, 8, 1) + content)
        try:
            read_idx(path)
        except DataError as error:
            check_message(error)

    images()
    idx()


def fuzz_metadata(number: int) -> None:
    """Whole pixels beside metadata of any kind: they are read as if it were not there."""
    picture = _picture()
    plain = {kind: decode(_encoded(kind), SIDE) for kind in ("PNG", "JPEG", "WEBP")}
    # The one thing that metadata may do is to turn the picture.
    turned = {
        kind: [np.rot90(pixels, turns) for turns in range(4)] for kind, pixels in plain.items()
    }

    @examples(number)
    @given(st.sampled_from(list(plain)), st.binary(max_size=80), st.sampled_from("efix"))
    def metadata(kind: str, block: bytes, which: str) -> None:
        file = BytesIO()
        if which == "e":
            picture.save(file, kind, exif=b"Exif\0\0" + block)
        elif which == "f":
            exif = Image.Exif()
            exif[0x0112] = 1
            picture.save(file, kind, exif=damaged(exif.tobytes() + block, 1, [(0.5, len(block))]))
        elif which == "i":
            picture.save(file, kind, icc_profile=block)
        else:
            text = PngInfo()
            text.add_text("Raw profile type exif", block.decode("latin-1"), zip=bool(block))
            text.add_text("Comment", block.decode("latin-1"))
            kind = "PNG"
            picture.save(file, kind, pnginfo=text)
        pixels = _decoded(file.getvalue())
        likely = [*turned[kind], *(np.fliplr(each) for each in turned[kind])]
        assert any(np.array_equal(pixels, each) for each in likely)

    metadata()


def fuzz_folders(number: int, folder: Path) -> None:
    """Folders of every shape, with files and folders of any name."""
    content = _encoded("PNG")
    names = ["train", "Training", "validation", "val", "test", "train1", "a", "b", "000_a", "0-2"]
    names += ["c.png", "__MACOSX", "lost+found", "@eaDir", "caf\u00e9", "cafe\u0301"]
    part = st.sampled_from([os.fsencode(each) for each in names]) | name
    file = st.sampled_from([b"1.png", b"2.JPG", b"x.txt", b".y.png", b"Thumbs.db"]) | name
    numbers = count()

    @examples(number)
    @given(
        st.lists(
            st.tuples(st.lists(part, min_size=1, max_size=3), file, st.booleans()), max_size=12
        )
    )
    def folders(files: list[tuple[list[bytes], bytes, bool]]) -> None:
        root = folder / f"images {next(numbers)}"
        root.mkdir()
        for where, called, linked in files:
            place = root.joinpath(*map(os.fsdecode, where))
            # A file where a folder would have to be, "..", or a name that is too long.
            with suppress(OSError):
                place.mkdir(parents=True, exist_ok=True)
                path = place / os.fsdecode(called)
                if linked:
                    path.symlink_to(path.name)  # a circle
                else:
                    path.write_bytes(content)
        try:
            dataset = load(
                str(root), image_size=SIDE, cache=folder / "cache", skip_bad_images=True
            ).dataset
        except DataError as error:
            check_message(error)
        else:
            for line in (dataset.name, dataset.source, *dataset.classes, *dataset.warnings):
                assert line.encode()

    folders()


def _decoded(content: bytes) -> npt.NDArray[np.uint8]:
    """The pixels of an image file, read as a search and a prediction read them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd images; what matters is an error
        return decode(content, SIDE)


def _picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return Image.fromarray(pixels)


def _encoded(kind: str) -> bytes:
    file = BytesIO()
    _picture().save(file, kind)
    return file.getvalue()
