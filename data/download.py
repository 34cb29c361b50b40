"""Download files: verified by checksum, moved into place atomically, with progress."""

import logging
from dataclasses import dataclass
from pathlib import Path

from data.dataset import DataError
from data.progress import Progress
from data.temporary import own_folder

CONNECT_SECONDS = 10.0  # to notice soon when offline


@dataclass(frozen=True)
class Remote:
    """A file on the network: its URL, and its digest as ``sha256:...`` or ``md5:...``."""

    url: str
    checksum: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


def fetch(remote: Remote, folder: Path, progress: Progress) -> Path:
    """Download a file into ``folder`` unless it is there already.

    Raises:
        DataError: The download failed, or the checksum differs.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)  # ``progress`` reports instead
    downloader = pooch.HTTPDownloader(
        progressbar=_Bar(remote.name, progress), timeout=CONNECT_SECONDS
    )
    file = folder / remote.name
    try:
        if not (file.is_file() and pooch.hashes.hash_matches(file, remote.checksum)):
            with own_folder(folder) as own:  # removed later if this process is killed
                pooch.retrieve(
                    remote.url, remote.checksum, remote.name, path=own, downloader=downloader
                )
                (own / remote.name).replace(file)
    except requests.exceptions.ConnectionError as error:
        raise DataError(f"cannot download {remote.url}: no connection") from error
    except requests.exceptions.RequestException as error:
        raise DataError(f"cannot download {remote.url}: {_short(error)}") from error
    except OSError as error:
        raise DataError(
            f"cannot store {remote.name} in {folder}: {error.strerror or error}"
        ) from error
    except ValueError as error:  # raised by pooch when the digest differs
        raise DataError(
            f"{remote.url} is not the expected file: its checksum differs; try again; "
            "if it differs again, the file was changed"
        ) from error
    return file


class _Bar:
    """A progress bar for pooch that calls ``progress``."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.total = 0
        self._name = name
        self._done = 0
        self._progress = progress

    def update(self, count: int) -> None:
        self._done += count
        self._progress(f"downloading {self._name}", self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Do nothing."""


def _short(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:150]}" if text else type(error).__name__
