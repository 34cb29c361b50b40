"""The layout of ``var/``, in one place, and files that are whole or not there.

A name given by a user becomes a folder here, so names are checked, and no path leads outside the
root, whatever symbolic links lie in it.
"""

import os
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


def checked_name(name: str) -> str:
    """``name``, if it may name a study or a run, and so a folder.

    Raises:
        StorageError: It could lead elsewhere, cannot be typed or shown, is too long, or is the
            name of something of ours.
    """
    if not name or len(name.encode(errors="replace")) > 2 * _LONGEST or len(name) > _LONGEST:
        raise StorageError(f"a name has 1 to {_LONGEST} characters, not {len(name)}: {name[:40]!r}")
    if any(unicodedata.category(character)[0] == "C" for character in name):
        raise StorageError(f"{name!r} holds control characters; use letters, digits, - and _")
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

    def used(self) -> int:
        """Bytes of all files below the root."""
        files = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        total = 0
        for file in files:
            with suppress(FileNotFoundError):  # a temporary file, moved or removed meanwhile
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


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` whole or not at all, text as UTF-8; the folder is made.

    Raises:
        StorageError: It cannot be written; what was there before is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as temporary, _told(path):
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, moved over ``path`` when the block ends well, else removed.

    It lies in the same folder, which is made, and has the same suffix, for libraries that go by
    it. When the block has ended, the file is on the disk, not merely on its way there.

    Raises:
        StorageError: It cannot be moved there, or the block wrote nothing; what was there before
            is untouched. What the block itself raises comes through as it is.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        with _told(path):
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)  # the name is on the disk only when its folder is
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
