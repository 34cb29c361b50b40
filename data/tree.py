"""Folders and image files as the file system has them.

Decoding is in decode.py.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from data.dataset import DataError

JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = frozenset((".png", *JPEG, ".bmp", ".webp", ".gif", ".tif", ".tiff"))
HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
HEIF_PACKAGE = "pillow_heif"  # an optional extra
KINDS = "PNG, JPEG, BMP, WebP, GIF or TIFF"  # for messages

# Folders that file systems, network storage and tools create, in lower case. Hidden names
# (.Trash-1000, .ipynb_checkpoints, ._x) are always left out.
_JUNK_FOLDERS = frozenset(
    (
        *("lost+found", "found.000", "$recycle.bin", "recycler", "system volume information"),
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot"),
        *("network trash folder", "temporary items", "__macosx", "__pycache__"),
    )
)
_JUNK_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_SUFFIX = re.compile(r"\.\w{1,8}", re.ASCII)


@dataclass(frozen=True)
class ImageFile:
    """An image file that has not been read.

    Attributes:
        place: Its path as text: 60,000 of them take a tenth of the time.
        size: Bytes.
        modified: Modification time in nanoseconds.
    """

    place: str
    size: int
    modified: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)


def heic_readable() -> bool:
    """Whether the package that reads HEIC and HEIF is installed."""
    return _installed(HEIF_PACKAGE)


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


@dataclass
class _Content:
    images: list["os.DirEntry[str]"] = field(default_factory=list)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)


class Folder:
    """A folder. Its contents are read once, on first use, ordered by name.

    Hidden files and folders, and those that file systems and tools create, are ignored.

    Args:
        path: Its path.
        linked: Whether it is reached through a symbolic link.
    """

    def __init__(self, path: str, *, linked: bool = False) -> None:
        self.path = path
        self.name = os.path.basename(path)  # noqa: PTH119 - a Path would change the path
        self.linked = linked

    @property
    def folders(self) -> dict[str, "Folder"]:
        """Its subfolders by name, without links that lead back to it or up."""
        return self._content.folders

    @property
    def others(self) -> Counter[str]:
        """Counts of files that are not readable images, by kind: ``.svg`` and so on."""
        return self._content.others

    @property
    def links(self) -> list[str]:
        """Names of its symbolic links that are broken, or lead back to it or up."""
        return self._content.links

    @property
    def image_count(self) -> int:
        """Number of images directly in it."""
        return len(self._content.images)

    @cached_property
    def images(self) -> list[ImageFile]:
        """The images directly in it.

        Raises:
            DataError: There is no permission for one of them.
        """
        files = []
        with _explained(self.path):
            for entry in self._content.images:
                status = entry.stat()
                files.append(ImageFile(entry.path, status.st_size, status.st_mtime_ns))
        return files

    def walk(self) -> Iterator["Folder"]:
        """The folder and all below it; links to folders are not followed."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            inner = [sub for sub in folder.folders.values() if not sub.linked]
            waiting += reversed(inner)

    def holds_images(self) -> bool:
        """Whether it or a folder below contains images, as far as it is readable."""
        try:
            return any(folder.image_count for folder in self.walk())
        except DataError:
            return False

    def shows_images(self) -> bool:
        """Whether it or a direct subfolder contains images."""
        try:
            near = (self, *self.folders.values())
            return any(folder.image_count for folder in near)
        except DataError:
            return False

    @cached_property
    def _content(self) -> _Content:
        suffixes = SUFFIXES | HEIF_SUFFIXES if heic_readable() else SUFFIXES
        content = _Content()
        with _explained(self.path):
            with os.scandir(self.path) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
            for entry in sorted(shown, key=lambda entry: entry.name):
                if _is_folder(entry):
                    self._add_folder(content, entry)
                elif _is_file(entry):
                    dot = entry.name.rfind(".")  # not the first character: those are hidden
                    suffix = entry.name[dot:].lower() if dot > 0 else ""
                    if suffix in suffixes:
                        content.images.append(entry)
                    elif entry.name.lower() not in _JUNK_FILES:
                        ending = _SUFFIX.fullmatch(suffix)
                        content.others[suffix if ending else "without a known suffix"] += 1
                elif entry.is_symlink():
                    content.links.append(entry.name)
                else:  # reading a pipe or device might never end
                    content.others["of a special type"] += 1
        return content

    def _add_folder(self, content: _Content, entry: "os.DirEntry[str]") -> None:
        if entry.name.lower() in _JUNK_FOLDERS:
            return
        linked = entry.is_symlink()
        if linked and _leads_up(entry.path, self.path):
            content.links.append(entry.name)
        else:
            content.folders[entry.name] = Folder(entry.path, linked=linked)


def images_below(folder: Path) -> Iterator[ImageFile]:
    """The images in a folder and its subfolders, by name; hidden ones are left out.

    Raises:
        DataError: A folder cannot be read.
    """
    for inner in Folder(str(folder)).walk():
        yield from inner.images


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        raise
    except OSError:  # a link to itself, or a name that is too long
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except PermissionError:
        raise
    except OSError:
        return False


def _leads_up(link: str, folder: str) -> bool:
    """Whether a link in ``folder`` leads to it or to a parent; following it would never end."""
    target, here = os.path.realpath(link), os.path.realpath(folder)
    return os.path.commonpath((target, here)) == target


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        where = error.filename or path
        raise DataError(f"no permission to read {where}: change its permissions") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
