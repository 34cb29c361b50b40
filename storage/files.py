"""The layout of ``var/``, and atomic writes.

Names given by users become folders here. They are checked, and no path leads outside the root,
whatever symbolic links it contains.
"""

import errno
import os
import shutil
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageError

_DATABASE = "treino.db"
_ARTIFACTS = "artifacts"
_MLFLOW = "mlflow.db"
# Compared without case: some file systems ignore it.
_OURS = {
    _ARTIFACTS,
    *(f"{file}{end}" for file in (_DATABASE, _MLFLOW) for end in ("", "-wal", "-shm", "-journal")),
}
_LONGEST = 100
_SQLITE_ENDS = ("-wal", "-shm", "-journal")  # what SQLite adds to the name of a database

# Characters that end a line, are not text, or affect the text around them. Format characters
# (Cf) reverse text or are invisible, except those that emoji and some scripts need.
_NOT_IN_NAMES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}

# Errors of file systems without fsync: CIFS, VirtualBox and WSL shares for folders (EINVAL), some
# network and FUSE file systems (the others). EACCES: a folder that may be written but not listed
# cannot be opened for fsync.
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
    """Return ``name`` if it may name a study or a run, and so a folder.

    Raises:
        StorageError: It could lead elsewhere, cannot be typed or shown, is too long, or is
            reserved by treino.
    """
    if not name or len(name.encode(errors="replace")) > 2 * _LONGEST or len(name) > _LONGEST:
        raise StorageError(
            f"a name has 1 to {_LONGEST} characters and at most {2 * _LONGEST} bytes, not "
            f"{len(name)} and {len(name.encode(errors='replace'))}: {name[:40]!r}"
        )
    if any(unicodedata.category(c) in _NOT_IN_NAMES and c not in _JOINERS for c in name):
        raise StorageError(
            f"{name!a} contains control characters or bytes that are not text; use letters, "
            "digits, - and _"
        )
    if name != name.strip() or name[0] == "." or any(part in name for part in ("/", "\\", "..")):
        raise StorageError(
            f"{name!r} is not a valid folder name: no '/', no '\\', no '..', no leading dot, "
            "no space at either end"
        )
    if name.casefold() in _OURS:
        raise StorageError(
            f"{name!r} is reserved for a file or folder of treino's; use another name"
        )
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
        """The checkpoint, from which the training resumes."""
        return _inside(self.root, self.folder / "checkpoint.npz")

    def remove_checkpoint(self, *, but_the_newest: bool = False) -> None:
        """Remove the checkpoint and the files beside it that start with its name."""
        for file in self.folder.glob(f"{self.checkpoint.name}*"):
            if not (but_the_newest and file == self.checkpoint):
                file.unlink(missing_ok=True)

    @property
    def model(self) -> Path:
        """The trained model, a Keras file."""
        return _inside(self.root, self.folder / "model.keras")

    @property
    def spec(self) -> Path:
        """The spec: network and training."""
        return _inside(self.root, self.folder / "spec.json")

    @property
    def curves(self) -> Path:
        """The figure with loss and accuracy per epoch."""
        return _inside(self.root, self.folder / "curves.png")

    @property
    def history(self) -> Path:
        """The history: a row per epoch."""
        return _inside(self.root, self.folder / "history.csv")

    @property
    def confusion(self) -> Path:
        """The figure with the confusion matrix."""
        return _inside(self.root, self.folder / "confusion.png")

    @property
    def tested(self) -> Path:
        """Results on the test images, with some misclassified ones."""
        return _inside(self.root, self.folder / "test.json")

    @property
    def mistakes(self) -> Path:
        """The figure with the misclassified images of highest probability."""
        return _inside(self.root, self.folder / "mistakes.png")

    @property
    def retraining(self) -> Path:
        """How the delivered model was retrained."""
        return _inside(self.root, self.folder / "retraining.json")

    @property
    def ensemble(self) -> Path:
        """An ensemble beside the best single model."""
        return _inside(self.root, self.folder / "ensemble.json")

    @property
    def exports(self) -> Path:
        """The folder of the model in other formats."""
        return _inside(self.root, self.folder / "exported")

    @property
    def card(self) -> Path:
        """The card of the model."""
        return _inside(self.root, self.folder / "README.md")


@dataclass(frozen=True)
class Layout:
    """Paths that a run writes to; nothing is created here.

    Attributes:
        root: The folder that holds everything, ``var`` unless the user says otherwise.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts that optuna-dashboard shows."""
        return _inside(self.root, self.root / _ARTIFACTS)

    def logs(self, study: str) -> Path:
        """The folder of the log files of ``study``."""
        return self._study(study, "logs")

    def run(self, study: str, run: str) -> RunFiles:
        """The files of the training ``run`` of ``study``."""
        return RunFiles(self.root, self._study(study, "runs", checked_name(run)))

    def best(self, study: str) -> RunFiles:
        """The files of the model that ``study`` delivered last."""
        return RunFiles(self.root, self._study(study, "best"))

    def curves(self, study: str) -> Path:
        """The file of the learning curves recorded by ``study``."""
        return self._study(study, "curves.json")

    def claims(self, study: str, claim: str) -> Path:
        """The figure, a PNG, of one of the report's claims tested by ``study``."""
        return self._study(study, "claims", f"{claim}.png")

    def tensorboard(self, study: str) -> Path:
        """The folder of the event files of ``study``."""
        return self._study(study, "tensorboard")

    def mlflow(self, study: str) -> Path:
        """The folder of the files that MLflow has of ``study``, if no server stores them."""
        return self._study(study, "mlflow")

    @property
    def mlflow_database(self) -> Path:
        """MLflow's database of all studies, if no server has one."""
        return _inside(self.root, self.root / _MLFLOW)

    def report(self, study: str) -> Path:
        """The folder of the study report and its figures."""
        return self._study(study, "report")

    def make(self, study: str) -> None:
        """Create the folder of ``study``.

        Raises:
            StorageError: Another file is in its place, or it cannot be written.
        """
        folder = self._study(study)
        for end in _SQLITE_ENDS:
            if study.endswith(end) and (self.root / study.removesuffix(end)).is_file():
                raise StorageError(
                    f"{folder} is reserved by SQLite for {str(folder).removesuffix(end)}; "
                    "name another study with --study"
                )
        with told(folder):
            if folder.exists() and not folder.is_dir():
                raise StorageError(
                    f"{folder} is a file where the folder of study {study!r} belongs; name "
                    "another study with --study, or another database with --storage"
                )
            folder.mkdir(parents=True, exist_ok=True)

    def used(self) -> int:
        """Total size in bytes of the accessible files below the root."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        total = 0
        for file in files:
            with suppress(OSError):  # a temporary file that was moved, or another user's folder
                total += file.lstat().st_size
        return total

    def _study(self, study: str, *parts: str) -> Path:
        return _inside(self.root, self.root.joinpath(checked_name(study), *parts))


def _inside(root: Path, path: Path) -> Path:
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # circular links
        raise StorageError(f"{path} is a broken link ({error}); remove it") from error
    if not inside:
        raise StorageError(f"{path} leads outside {root}, to {path.resolve()}; remove the link")
    return path


def folder_to_write(wanted: Path) -> Path:
    """Return ``wanted``, created if missing, or a new temporary folder if it is not writable.

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
    """Write ``content`` to ``path`` atomically, text as UTF-8; creates the folder.

    Raises:
        StorageError: The write failed; an existing file is unchanged.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; move it over ``path`` if the block succeeds, else remove it.

    It is in the same folder, which is created, and has the same suffix, because some libraries
    depend on it. After the block the file is flushed to disk, where the file system supports it.

    Raises:
        StorageError: Writing or moving failed, or the block wrote nothing; an existing file is
            unchanged. Other exceptions of the block pass through.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)  # the name is on disk only once the folder is flushed
    finally:
        with suppress(OSError):  # the earlier error is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a folder; move it to ``path`` if the block succeeds.

    An earlier folder in its place is removed then. Unlike a file's, the exchange takes two steps:
    between them there is no folder at ``path``.

    Raises:
        StorageError: Writing or moving failed; an existing folder is unchanged. Other exceptions
            of the block pass through.
    """
    temporary, before = (path.with_name(f".{uuid.uuid4().hex}") for _ in range(2))
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            for file in (*temporary.rglob("*"), temporary):
                _flush(file)
            if path.exists():
                path.rename(before)
            try:
                temporary.rename(path)
            except OSError:
                if before.exists():
                    before.rename(path)
                raise
            _flush(path.parent)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn errors of the operating system inside the block into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by a library, not the system
            raise
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def told_of_disk() -> Iterator[None]:
    """Turn errors of a full disk or inaccessible files into a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = f"{error.filename!s}: " if error.filename else ""
        raise StorageError(f"{where}{error.strerror}; fix that and run the same command") from error


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
