"""The files of ended trials that the dashboard shows: spec, figure of the curves, model.

A figure takes longer than everything else at the end of a trial, and models are large. So the
tuner only registers a trial's files in the study; a process of its own draws and copies them. What
it has not done when a search is killed is done at the start of the next one.
"""

import json
import mimetypes
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from optuna.artifacts import ArtifactMeta
from optuna.trial import FrozenTrial

from models.history import EpochFigures
from search import processes
from search.figures import plots
from storage.errors import StorageError
from storage.files import RunFiles, replacing

_PREFIX = "artifacts:"  # Optuna's, of the attribute with an artifact's metadata
_ATTEMPTS = 2  # processes that may die of the same trial
_WAIT = 0.2  # seconds, so that Ctrl-C is noticed soon


@dataclass(frozen=True)
class Attachments:
    """The files of one ended trial.

    Attributes:
        files: Paths of the trial's files.
        folder: Folder of the artifacts.
        copies: Name of the artifact by the path of the file, in order.
        title: Title of the figure.
        subtitle: Result of the trial, for the figure.
        history: Epochs of the trial; empty for no figure.
        monitor: Name of the figure by which an epoch is the best.
    """

    files: RunFiles
    folder: Path
    copies: Mapping[Path, str]
    title: str
    subtitle: str
    history: tuple[EpochFigures, ...] = field(repr=False)
    monitor: str

    @classmethod
    def of(
        cls,
        files: RunFiles,
        folder: Path,
        title: str,
        subtitle: str,
        history: tuple[EpochFigures, ...],
        monitor: str,
        *,
        with_model: bool,
    ) -> "Attachments":
        """Those of a trial that ends, with new names."""
        paths = [files.spec]
        if history:
            paths.append(files.curves)
        if with_model and files.model.exists():
            paths.append(files.model)
        copies = {path: str(uuid.uuid4()) for path in paths}
        return cls(files, folder, copies, title, subtitle, history, monitor)

    def attributes(self) -> dict[str, str]:
        """The system attributes that register them, as ``optuna.artifacts`` reads them."""
        attributes = {}
        for path, name in self.copies.items():
            kind, encoding = mimetypes.guess_type(path.name)
            meta = ArtifactMeta(name, path.name, kind or "application/octet-stream", encoding)
            attributes[f"{_PREFIX}{name}"] = json.dumps(asdict(meta))
        return attributes

    def store(self) -> None:
        """Draw the figure and copy the files; a file that is no more is left out.

        Raises:
            StorageError: A file cannot be written.
        """
        if self.history and self.files.curves in self.copies:
            plots.draw_curves(
                self.history,
                self.files.curves,
                self.title,
                subtitle=self.subtitle,
                monitor=self.monitor,
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, name in self.copies.items():
                if path.exists():
                    with replacing(self.folder / name) as temporary:
                        shutil.copyfile(path, temporary)
            self.files.model.unlink(missing_ok=True)  # stored, or not among the best
        except OSError as error:
            raise StorageError(
                f"cannot store artifacts in {self.folder}: {error.strerror or error}"
            ) from error


def missing(trial: FrozenTrial, files: RunFiles, folder: Path) -> dict[Path, str]:
    """Registered files of a trial that are not stored, as ``copies`` of `Attachments`."""
    by_name = {path.name: path for path in (files.spec, files.curves, files.model)}
    names = {}
    for key, value in trial.system_attrs.items():
        if key.startswith(_PREFIX) and (meta := json.loads(value)):  # null: deleted by the user
            path, name = by_name.get(meta["filename"]), meta["artifact_id"]
            if path is not None and not (folder / name).exists():
                names[path] = name
    return names


class Attaching:
    """Stores attachments at once, in this process."""

    def __call__(self, attachments: Attachments) -> None:
        """Store attachments, at once or soon, in order.

        Raises:
            StorageError: These or earlier ones could not be stored.
        """
        attachments.store()

    def turn(self) -> None:
        """Pass on what waits. A loop calls it each turn.

        Raises:
            StorageError: Some could not be stored.
        """

    def finish(self) -> None:
        """Wait until all are stored.

        Raises:
            StorageError: Some could not be stored.
        """


class AttachingAside(Attaching):
    """Stores attachments in a process of its own. A context manager.

    Its end waits until all are stored; with an error, or once ``stopped``, it does not.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._todo: deque[Attachments] = deque()
        self._deaths = 0  # of processes, with the first of ``_todo``
        self._process: BaseProcess | None = None
        self._channel: Connection | None = None
        self._busy = False

    def __call__(self, attachments: Attachments) -> None:
        """See Attaching."""
        self._todo.append(attachments)
        self.turn()

    def turn(self) -> None:
        """See Attaching."""
        self._hear(0.0)
        if self._todo and not self._busy:
            channel = self._started()
            with suppress(OSError):  # it died: heard next
                channel.send(self._todo[0])
            self._busy = True

    def finish(self) -> None:
        """See Attaching. Once ``stopped``, it waits no longer."""
        while self._todo and not self._stopped():
            self.turn()
            self._hear(_WAIT)

    def __enter__(self) -> "AttachingAside":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._end()

    def _hear(self, wait: float) -> None:
        """Receive the end of what the process does, if it comes within ``wait`` seconds."""
        if not self._busy or self._channel is None or not self._channel.poll(wait):
            return
        self._busy = False
        try:
            error: StorageError | None = self._channel.recv()
        except (EOFError, OSError):  # killed, for example for memory
            self._end()
            self._deaths += 1
            if self._deaths < _ATTEMPTS:
                return
            error = None
        self._deaths = 0
        self._todo.popleft()
        if error is not None:
            raise error

    def _started(self) -> Connection:
        if self._channel is None:
            self._channel, theirs = Pipe()
            self._process = processes.start(_store_all, theirs, name="treino files")
            theirs.close()  # so that its death shows up as end of file
        return self._channel

    def _end(self) -> None:
        if self._process is not None and self._channel is not None:
            self._process.kill()
            self._process.join()
            self._channel.close()
        self._process = self._channel = None
        self._busy = False


def _store_all(channel: Connection) -> None:
    """Main function of the process."""
    processes.leave_with_parent()
    while True:
        attachments: Attachments = channel.recv()
        try:
            attachments.store()
        except StorageError as error:
            channel.send(error)
        else:
            channel.send(None)
