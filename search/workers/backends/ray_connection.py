"""How this process, and the nodes of this machine, use Ray."""

import importlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.errors import TreinoError

PROBE = {
    "health_check_period_ms": 3000,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 5,
}
"""How Ray's head looks after nodes."""


def connect(address: str) -> Any:
    """Connect this process to a cluster; return Ray's module."""
    try:
        reach(address)
    except OSError as error:
        raise TreinoError(
            f"--cluster {address}: no cluster answers ({error.strerror or error}); start it with "
            "make cluster-head"
        ) from error
    import_ray_for(address.rpartition(":")[0])
    import ray

    check_token(address)
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the backend tells what happened
    try:
        # Ray puts the working folder before all else in the import path of its workers. There, a
        # folder of images named data would hide a package of treino's.
        with signals_kept(), _working_folder(Path(__file__).parents[3]):
            ray.init(address, log_to_driver=False, configure_logging=False)
    except Exception as error:
        what = " ".join(str(error).split())
        raise TreinoError(f"--cluster {address}: cannot join the cluster: {what}") from error
    return ray


def reach(address: str) -> None:
    """Open and close a connection to a cluster's head.

    Raises:
        OSError: It does not answer.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()


def token_file() -> Path:
    """The file with the token that all processes of a cluster show; Ray reads it, too."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def check_token(address: str) -> None:
    """Check that a cluster's head accepts the token of this process, which has imported Ray.

    Raises:
        TreinoError: There is no token, or another one.
    """
    from ray import exceptions

    raylet = importlib.import_module("ray._raylet")  # compiled, without types
    try:
        raylet.AuthenticationTokenLoader.instance().has_token()  # else the client aborts
        with _silent():
            raylet.GcsClient(address=address)
    except exceptions.AuthenticationError as error:
        file, host = token_file(), address.rpartition(":")[0]
        fault = "the token is not that in" if file.is_file() else "there is no token in"
        raise TreinoError(
            f"cluster {address}: {fault} {file}: copy that file from the head, for example with "
            f"scp {host}:.ray/auth_token ~/.ray/"
        ) from error
    except exceptions.RayError:
        pass  # joining tells more


def import_ray_for(host: str) -> None:
    """Set what Ray reads from the environment when it is imported, for nodes and for searches.

    Raises:
        TreinoError: Ray is not installed.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray prints pages about dead nodes into the output of a search; the backend has one line.
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."
    if host in ("127.0.0.1", "localhost"):
        # Else Ray takes the machine's address in its network instead, and listens there.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise TreinoError(
            "a cluster requires Ray: use make, or, in treino's folder, run .venv/bin/pip install "
            "-e '.[cluster]'"
        ) from error


@contextmanager
def signals_kept() -> Iterator[None]:
    """Keep this process's handlers of signals, which Ray replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what Ray's compiled code prints from standard error."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
