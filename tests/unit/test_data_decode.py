"""Image files as they come: every format and mode, damaged metadata, sizes, and what is none."""

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from data import decode as decoding
from data.decode import decode, decode_file
from data.filetype import HEIC, READ, kind_of
from data.metadata import without_metadata

PIXELS = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


@pytest.fixture(autouse=True)
def odd_images_may_warn() -> Iterator[None]:
    """As where a data set is decoded: what Pillow warns of is nobody's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def fault(content: bytes) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        decode(content, 8)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert " at 0x" not in text
    return text


class TestMetadata:
    """Damaged or large, it is no reason to refuse whole pixels."""

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    @pytest.mark.parametrize(
        "block",
        [b"Exif\0\0garbage", b"\0\0\0\0" + SIDEWAYS.tobytes()[6:], b"II*\0", b"Exif\0\0II*\0\xff"],
    )
    def test_an_exif_block_that_is_none(self, kind: str, block: bytes) -> None:
        options = {"lossless": True} if kind == "WEBP" else {}
        content = saved(PICTURE, kind, exif=block, **options)
        np.testing.assert_array_equal(decode(content, 8), PIXELS)

    @pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind them"])
    @pytest.mark.parametrize(
        "beside",
        [
            chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * 1_500_000)),
            chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"x" * 1_500_000)),
            chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000))),
            chunk(b"zTXt", b"note\0\7nonsense"),
            chunk(b"pHYs", b"x"),
            chunk(b"sRGB", b""),
            chunk(b"tEXt", b"note\0x")[:-4] + b"oops",
        ],
        ids=["text", "workflow", "profile", "compression", "short", "empty", "checksum"],
    )
    def test_chunks_of_a_png(self, beside: bytes, late: bool) -> None:
        whole = saved(PICTURE, "PNG", exif=SIDEWAYS)
        at = whole.index(b"IEND") - 4 if late else 33
        pixels = decode(whole[:at] + beside + whole[at:], 8)
        np.testing.assert_array_equal(pixels, decode(whole, 8))

    def test_a_raw_profile_that_is_no_hexadecimal(self) -> None:
        info = PngInfo()
        info.add_text("Raw profile type exif", "\nexif\n      10\nzzzz\n")
        np.testing.assert_array_equal(decode(saved(PICTURE, "PNG", pnginfo=info), 8), PIXELS)

    def test_a_picture_keeps_the_way_it_is_turned(self) -> None:
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
        info.add_text("note", "y" * 1_500_000, zip=True)
        turned = decode(saved(PICTURE, "PNG", exif=SIDEWAYS), 8)
        np.testing.assert_array_equal(decode(saved(PICTURE, "PNG", pnginfo=info), 8), turned)
        np.testing.assert_array_equal(turned, np.rot90(PIXELS, -1))

    def test_a_tiff_with_a_broken_exif_folder(self) -> None:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
        content = bytearray(saved(PICTURE, "TIFF", exif=exif))
        (start,) = struct.unpack_from("<I", content, 4)
        (count,) = struct.unpack_from("<H", content, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from("<H", content, at)[0] == 0x8769:
                struct.pack_into("<I", content, at + 8, 2**31)
        np.testing.assert_array_equal(decode(bytes(content), 8), PIXELS)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
    def test_a_whole_picture_is_the_same_without_it(self, kind: str) -> None:
        options = {} if kind in ("GIF", "BMP") else {"exif": SIDEWAYS}
        content = saved(PICTURE, kind, **options)
        np.testing.assert_array_equal(decode(without_metadata(content), 8), decode(content, 8))

    @settings(max_examples=300)
    @given(st.data())
    def test_any_damage_is_read_or_told_in_a_line(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"]))
        options = {} if kind in ("GIF", "BMP") else {"exif": SIDEWAYS}
        content = bytearray(saved(PICTURE, kind, **options))
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)))] or content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert decode(bytes(content), 8).shape == (8, 8, 3)
            except ValueError as error:
                assert len(str(error).splitlines()) == 1


class TestFormats:
    """What is read beside PNG, JPEG, BMP and WebP."""

    def test_the_first_frame_of_a_gif(self) -> None:
        first = PICTURE.quantize(256)
        content = saved(first, "GIF", save_all=True, append_images=[first.rotate(90)])
        np.testing.assert_array_equal(decode(content, 8), PIXELS)

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
    def test_the_first_page_of_a_tiff(self, compression: str | None) -> None:
        content = saved(
            PICTURE,
            "TIFF",
            compression=compression,
            save_all=True,
            append_images=[PICTURE.rotate(90)],
        )
        np.testing.assert_array_equal(decode(content, 8), PIXELS)

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.full((8, 8), 257 * 100, np.uint16), 100),
            (np.full((8, 8), 0.5, np.float32), 128),
            (np.array([[200.0, np.nan], [50.0, np.inf]], np.float32).repeat(8, 1), None),
            (np.full((8, 8), 257 * 100, np.int32), 100),
            (np.zeros((8, 8), np.float32), 0),
        ],
        ids=["16 bit", "0 to 1", "no numbers", "32 bit", "zero"],
    )
    def test_more_than_eight_bits(self, array: np.ndarray, expected: int | None) -> None:
        pixels = decode(saved(Image.fromarray(array), "TIFF"), 8)
        assert expected is None or np.all(pixels == expected)

    @pytest.mark.parametrize(
        "mode",
        [
            *("1", "L", "LA", "P", "RGBA", "CMYK", "LAB"),
            pytest.param(
                "YCbCr",
                marks=pytest.mark.skipif(
                    Version(PIL.__version__) < Version("13"),
                    reason="Pillow 12, the last for Python 3.10, cannot read what it writes",
                ),
            ),
        ],
    )
    def test_modes_of_a_tiff(self, mode: str) -> None:
        image = Image.new("RGB", (8, 8), (255, 255, 255))
        image = image if mode == "LAB" else image.convert(mode)
        if mode == "LAB":
            image = Image.new("LAB", (8, 8), (255, 128, 128))
        assert decode(saved(image, "TIFF"), 8).min() > 240

    def test_a_photo_with_a_second_in_it(self) -> None:
        content = saved(PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(90)])
        np.testing.assert_array_equal(decode(content, 8), decode(saved(PICTURE, "JPEG"), 8))

    def test_heic(self) -> None:
        heif = pytest.importorskip("pillow_heif")
        file = BytesIO()
        heif.from_pillow(Image.new("RGB", (64, 64), (200, 100, 50))).save(file, quality=90)
        assert kind_of(file.getvalue()) == HEIC
        pixels = decode(file.getvalue(), 8)
        assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 12

    def test_heic_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoding, "heic_readable", lambda: False)
        said = fault(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        assert "a HEIC image" in said
        assert "pip install pillow-heif" in said


class TestLargeImages:
    """As large as phones take them, in bounded memory."""

    @pytest.mark.parametrize("turn", [1, 6])
    @pytest.mark.parametrize(
        ("kind", "mode"),
        [
            *(("JPEG", "RGB"), ("JPEG", "L")),
            *(("PNG", mode) for mode in ("RGB", "L", "RGBA", "I;16")),
        ],
    )
    def test_a_large_one_looks_like_a_small_one(
        self, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, turn: int
    ) -> None:
        ramp = np.linspace(20, 220, 300)[None, :] * np.ones((200, 1))
        image = Image.fromarray(ramp.astype(np.uint8)).convert("RGBA" if mode == "RGBA" else "RGB")
        image = image.convert("L") if mode == "L" else image
        if mode == "I;16":
            image = Image.fromarray((ramp * 257).astype(np.uint16))
        exif = Image.Exif()
        exif[0x0112] = turn
        content = saved(image, kind, exif=exif)
        whole = decode(content, 8).astype(int)
        monkeypatch.setattr(decoding, "_WHOLE", 1000)
        monkeypatch.setattr("data.pixels._STRIP", 5000)
        assert np.abs(decode(content, 8) - whole).max() <= 4

    def test_fifty_megapixels(self) -> None:
        content = saved(Image.new("L", (8192, 6144), 90), "JPEG", quality=20)
        assert np.abs(decode(content, 8).astype(int) - 90).max() < 4

    def test_threads_hold_no_more_pixels_together_than_there_is_room_for(self) -> None:
        room = decoding._Room(10)
        held, most, guard = 0, 0, threading.Lock()

        def work(pixels: int) -> None:
            nonlocal held, most
            for _ in range(50):
                with room.taken(pixels):
                    with guard:
                        held += pixels
                        most = max(most, held if pixels <= 10 else held - pixels)
                    with guard:
                        held -= pixels

        threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (3, 4, 6, 12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most <= 10
        assert held == 0


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (bytes(5000), "a file of zeros"),
        (b"<!doctype html><h1>404</h1>", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg/>", "an SVG"),
        (b"<?xml version='1.0'?><Error/>", "an XML file"),
        (b'{"error": 404}', "a JSON file"),
        ("não encontrado".encode(), "a text file"),
        ("não".encode("utf-16"), "a text file"),
        (b"\xc3\xa9" * 3000, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "a video (MP4"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "an AVIF image"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "an AVIF image"),
        (b"\x1aE\xdf\xa3rest", "a video (Matroska"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"P6\n2 2\n255\n", "a Netpbm image"),
        (b"\x01\x02\x03\xff" * 10, "no image in a known format"),
        (saved(PICTURE, "PNG")[:60], "a damaged PNG image"),
        (saved(PICTURE, "JPEG")[:-40], "a damaged JPEG image"),
        (b"BM" + b"\xff\xff\xff\xff" + bytes(4) + b"\xff" * 20, "a damaged BMP image"),
    ],
)
def test_what_cannot_be_read_is_called_what_it_is(content: bytes, what: str) -> None:
    assert what in fault(content)


@given(st.binary(max_size=400))
def test_anything_is_of_some_kind(content: bytes) -> None:
    assert kind_of(content).isascii()
    assert kind_of(saved(PICTURE, "GIF")) in READ


def test_paths_that_lead_to_no_image(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    for path, said in {
        tmp_path / "loop.png": "symbolic links",
        tmp_path / ("x" * 300 + ".png"): "too long",
        tmp_path / "none.png": "No such file",
        tmp_path: "a folder",
        Path("nul\0byte.png"): "unreadable",
    }.items():
        with pytest.raises(ValueError, match=said):
            decode_file(path, 8)


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
