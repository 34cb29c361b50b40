"""Strip metadata from image files, for files whose metadata is damaged."""

import struct

# Chunks that PNG's pixels need; others are texts, colour profiles, times and frames.
_PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
_XMP = b"XML:com.adobe.xmp\0"  # may contain the orientation
_SMALL = 2**16  # bytes
# JFIF and Adobe, which define how colours are stored, and EXIF.
_JPEG_KEPT = {0xE0, 0xE1, 0xEE}
# EXIF, GPS, XMP, IPTC, Photoshop, colour profile, and EXIF's second directory.
_TIFF_BESIDE = {34665, 34853, 700, 33723, 34377, 34675, 40965}
_UNUSED = 65_000


def without_metadata(content: bytes) -> bytes:
    """The image without texts, profiles and the like; ``content`` if it has none."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(content)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(content)
    except (struct.error, IndexError):  # damaged elsewhere, too
        pass
    return content


def _png(content: bytes) -> bytes:
    kept, at = [content[:8]], 8
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        xmp = kind == b"iTXt" and length < _SMALL and content.startswith(_XMP, at + 8)
        if kind in _PNG_PIXELS or xmp or not kind[0] & 32:  # lower case: optional chunk
            kept.append(content[at:end])
        if kind == b"IEND":
            break
        at = end
    return b"".join(kept)


def _jpeg(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while True:
        while content[at + 1] == 0xFF:  # padding
            at += 1
        mark, marker, length = struct.unpack_from(">BBH", content, at)
        if mark != 0xFF or marker == 0xDA:  # the pixels start here
            break
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker in _JPEG_KEPT:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    return b"".join((*kept, content[at:]))


def _tiff(content: bytes) -> bytes:
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    changed = bytearray(content)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{order}H", content, at)
        if tag in _TIFF_BESIDE:  # replaced by an unused tag
            struct.pack_into(f"{order}HHII", changed, at, _UNUSED, 1, 1, 0)
    return bytes(changed)
