"""Detect a file's type by its first bytes; suffixes are often wrong."""

import re

READ = ("PNG", "JPEG", "BMP", "WebP", "GIF", "TIFF")
HEIC = "HEIC"

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02\0", "a raw photo of a camera (CR2)"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo of a camera (RAF)"),
    (0, b"IIU\0", "a raw photo of a camera (RW2)"),
    (0, b"IIRO", "a raw photo of a camera (ORF)"),
    (0, b"IIRS", "a raw photo of a camera (ORF)"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (128, b"DICM", "a DICOM image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"qoif", "a QOI image"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"FLV\x01", "a video (FLV)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video (WMV)"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 file"),
    (8, b"WAVE", "a sound (WAV)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (0, b"\x7fELF", "a program"),
    (0, b"\0\x05\x16\x07", "what macOS keeps beside a file (._name)"),
    (0, b"bplist00", "a property list of macOS"),
    (0, b"version https://git-lfs", "a pointer of Git LFS; `git lfs pull` fetches the image"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_MARKUP = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<svg", "an SVG"))


_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # possible sizes of the second header, bytes


def kind_of(content: bytes) -> str:
    """One of READ or HEIC, or a description with an article of what the content is."""
    if not content:
        return "an empty file"
    if content[4:8] == b"ftyp":
        return _of_brands(content)
    for offset, signature, kind in _SIGNATURES:
        if content.startswith(signature, offset):
            return kind
    header = int.from_bytes(content[14:18], "little")
    if content[:2] == b"BM" and (content[6:10] == bytes(4) or header in _BMP_HEADERS):
        return "BMP"
    start = content[:4096]
    if not any(start):
        return "a file of zeros"
    return _of_text(start) or "no image in a known format"


def _of_brands(content: bytes) -> str:
    """The type of a file made of MPEG-4 boxes."""
    major = content[8:12]
    size = min(int.from_bytes(content[:4], "big"), 256)
    brands = {major, *(content[at : at + 4] for at in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return "an AVIF image"
    if major in _HEIC_BRANDS or brands & (_HEIC_BRANDS - {b"mif1", b"msf1"}):
        return HEIC
    if major == b"crx ":
        return "a raw photo of a camera (CR3)"
    return "a video (MP4 or QuickTime)"


def _of_text(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text file"
    start = start.removeprefix(b"\xef\xbb\xbf")
    text = start.lstrip().lower()
    if re.match(rb"p[1-7]\s", text):
        return "a Netpbm image"
    for tag, kind in _MARKUP:
        if text.startswith(tag) or (text.startswith((b"<?xml", b"<!--", b"<!doc")) and tag in text):
            return kind
    if text.startswith(b"<?xml"):
        return "an XML file"
    if any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in start):
        return ""
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # else cut inside a character
            return ""
    return "a JSON file" if text.startswith((b"{", b"[")) else "a text file"
