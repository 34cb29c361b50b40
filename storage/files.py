"""The layout of ``var/``, in one place, and files that are whole or not there.

A name given by a user becomes a folder here, so names are checked, and no path leads outside the
root, whatever symbolic links lie in it.
"""

import errno
import os
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from storage.engine import StorageError

_DATABASE = "treino.db"
_ARTIFACTS = "artifacts"
# Compared without case: some file systems make no difference.
_OURS = {_ARTIFACTS, *(f"{_DATABASE}{end}" for end in ("", "-wal", "-shm", "-journal"))}
_LONGEST = 100
_SQLITE_ENDS = ("-wal", "-shm", "-journal")  # what SQLite adds to the name of a database

# Characters that end a line, are no text, or steer what is around them. Format characters (Cf)
# reverse text or are invisible, except those that emoji and some scripts are written with.
_NOT_IN_NAMES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}

# What a file system answers to fsync where it has no such thing: CIFS, VirtualBox and WSL shares
# for folders (EINVAL), some network and FUSE file systems (the others). EACCES: a folder that may
# be written but not listed cannot be opened for it.
_CANNOT_FLUSH = {
    *(errno.EINVAL, errno.EBADF, errno.EPERM, errno.EACCES, errno.EISDIR),
    *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
}
_OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def checked_name(name: str) -> str:
    """``name``, if it may name a study or a run, and so a folder.

    Raises:
        StorageError: It could lead elsewhere, cannot be typed or shown, is too long, or is the
            name of something of ours.
    """
    if not name or len(name.encode(errors="replace")) > 2 * _LONGEST or len(name) > _LONGEST:
        raise StorageError(
            f"a name has 1 to {_LONGEST} characters and at most {2 * _LONGEST} bytes, not "
            f"{len(name)} and {len(name.encode(errors='replace'))}: {name[:40]!r}"
        )
    if any(unicodedata.category(c) in _NOT_IN_NAMES and c not in _JOINERS for c in name):
        raise StorageError(
            f"{name!a} holds control characters or bytes that are no text; use letters, "
            "digits, - and _"
        )
    if name != name.strip() or name[0] == "." or any(part in name for part in ("/", "\\", "..")):
        raise StorageError(
            f"{name!r} cannot name a folder: no '/', no '\\', no '..', no leading dot, "
            "no space at either end"
        )
    if name.casefold() in _OURS:
        raise StorageError(f"{name!r} is the name of a file or folder of treino's; use another")
    return name


@dataclass(frozen=True)
class RunFiles:
    """The files of one training.

    Each property raises `StorageError` where a symbolic link would lead it outside ``root``.

    Attributes:
        root: The folder that holds everything.
        folder: The training's own folder.
    """

    root: Path
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The training's state, to go on from."""
        return _inside(self.root, self.folder / "checkpoint.npz")

    def remove_checkpoint(self, *, but_the_newest: bool = False) -> None:
        """Remove the checkpoint, and what stands beside it under its name."""
        for file in self.folder.glob(f"{self.checkpoint.name}*"):
            if not (but_the_newest and file == self.checkpoint):
                file.unlink(missing_ok=True)

    @property
    def model(self) -> Path:
        """The trained model, for Keras to load."""
        return _inside(self.root, self.folder / "model.keras")

    @property
    def spec(self) -> Path:
        """What was trained, and with what."""
        return _inside(self.root, self.folder / "spec.json")

    @property
    def curves(self) -> Path:
        """The picture of loss and accuracy over the epochs."""
        return _inside(self.root, self.folder / "curves.png")

    @property
    def history(self) -> Path:
        """The figures of each epoch."""
        return _inside(self.root, self.folder / "history.csv")

    @property
    def confusion(self) -> Path:
        """The picture of which class was taken for which."""
        return _inside(self.root, self.folder / "confusion.png")

    @property
    def tested(self) -> Path:
        """How the model did on the test images, with some it got wrong."""
        return _inside(self.root, self.folder / "test.json")

    @property
    def mistakes(self) -> Path:
        """The picture of the images that it got wrong and was surest of."""
        return _inside(self.root, self.folder / "mistakes.png")

    @property
    def card(self) -> Path:
        """A page about the model, for people."""
        return _inside(self.root, self.folder / "README.md")


@dataclass(frozen=True)
class Layout:
    """Where a run writes; nothing is created here.

    Attributes:
        root: The folder that holds everything, ``var`` unless the user says otherwise.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """What optuna-dashboard shows beside the trials."""
        return _inside(self.root, self.root / _ARTIFACTS)

    def logs(self, study: str) -> Path:
        """The folder of the log files of ``study``."""
        return self._study(study, "logs")

    def run(self, study: str, run: str) -> RunFiles:
        """The files of the training ``run`` of ``study``."""
        return RunFiles(self.root, self._study(study, "runs", checked_name(run)))

    def best(self, study: str) -> RunFiles:
        """The files of what ``study`` handed over last."""
        return RunFiles(self.root, self._study(study, "best"))

    def curves(self, study: str) -> Path:
        """The file of the learning curves recorded by ``study``."""
        return self._study(study, "curves.json")

    def claims(self, study: str, claim: str) -> Path:
        """The picture, a PNG, of one of the documents' claims put to the test by ``study``."""
        return self._study(study, "claims", f"{claim}.png")

    def report(self, study: str) -> Path:
        """The folder of the page about ``study``, and of its figures."""
        return self._study(study, "report")

    def make(self, study: str) -> None:
        """Make the folder of ``study``.

        Raises:
            StorageError: Something else has its place, or it cannot be written.
        """
        folder = self._study(study)
        for end in _SQLITE_ENDS:
            if study.endswith(end) and (self.root / study.removesuffix(end)).is_file():
                raise StorageError(
                    f"{folder} is where SQLite keeps a part of {str(folder).removesuffix(end)}; "
                    "name another study with --study"
                )
        with told(folder):
            if folder.exists() and not folder.is_dir():
                raise StorageError(
                    f"{folder} is a file, and the folder of study {study!r} belongs there; name "
                    "another study with --study, or another database with --storage"
                )
            folder.mkdir(parents=True, exist_ok=True)

    def used(self) -> int:
        """Bytes of all files below the root that can be looked at."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        total = 0
        for file in files:
            with suppress(OSError):  # a temporary file, moved meanwhile, or a folder of others
                total += file.lstat().st_size
        return total

    def _study(self, study: str, *parts: str) -> Path:
        return _inside(self.root, self.root.joinpath(checked_name(study), *parts))


def _inside(root: Path, path: Path) -> Path:
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # links that lead in a circle
        raise StorageError(f"{path} leads nowhere ({error}); remove the link") from error
    if not inside:
        raise StorageError(f"{path} leads outside {root}, to {path.resolve()}; remove the link")
    return path


def folder_to_write(wanted: Path) -> Path:
    """``wanted``, made if need be, or a new temporary folder where the user may not write there.

    Raises:
        StorageError: Neither can be written.
    """
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        if error.errno not in _NOT_ALLOWED:
            raise StorageError(f"cannot write {wanted}: {error.strerror or error}") from error
    try:
        return Path(tempfile.mkdtemp(prefix=f"treino-{wanted.name}-"))
    except OSError as error:
        raise StorageError(
            f"cannot write {wanted}, nor a temporary folder: {error.strerror or error}"
        ) from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` whole or not at all, text as UTF-8; the folder is made.

    Raises:
        StorageError: It cannot be written; what was there before is untouched.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, moved over ``path`` when the block ends well, else removed.

    It lies in the same folder, which is made, and has the same suffix, for libraries that go by
    it. When the block has ended, the file is on the disk, not merely on its way there, where the
    file system can say so.

    Raises:
        StorageError: It cannot be written or moved there, or the block wrote nothing; what was
            there before is untouched. What else the block raises comes through as it is.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)  # the name is on the disk only when its folder is
    finally:
        with suppress(OSError):  # what went wrong before is what is to be told
            temporary.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by a library, for reasons of its own
            raise
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def told_of_disk() -> Iterator[None]:
    """Turn what a full disk, or files that may not be used, raise inside into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = f"{error.filename!s}: " if error.filename else ""
        raise StorageError(
            f"{where}{error.strerror}; mend that and run the same command"
        ) from error


def _flush(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
