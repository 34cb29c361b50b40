"""Nodes of a cluster on this machine: start, keep and stop them.

A node is a process of its own, the keeper. It starts Ray's processes and restarts them when they
end: after the network was cut for long, Ray gives a node up, and a new one has to join. Ray's
processes end with their keeper. Each keeper has a record in ``var/cluster``, so that ``stop`` ends
what these commands started and nothing else.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import psutil

from search.errors import SettingsError, TreinoError
from search.settings import is_address
from search.workers.backends.ray_connection import (
    PROBE,
    check_token,
    import_ray_for,
    token_file,
)
from storage.files import write_atomically

Role = Literal["head", "node"]

PORT = 6379
LOOPBACK = "127.0.0.1"
FOLDER = Path("var/cluster")
PATIENCE = 300.0  # seconds in which a node has to be up: ten on a machine that is not busy
PAUSE = 2.0  # seconds before the processes of a node are started again
LEAVING = 60  # seconds that a search which runs as a job has to pause its trials
MOST_STORE = 2 * 2**30  # bytes of Ray's object store; what has no room there goes to disk


@dataclass(frozen=True)
class NodeRecord:
    """A node of this machine, as it is stored.

    Attributes:
        role: What it is.
        head: Address of the cluster's head.
        address: Address of the node.
        cpus: Processors that it offers; None for all.
        jobs: Port of loopback at which a head takes Ray jobs; None if it takes none.
        pid: The keeper's process.
        started: When that process started, in seconds since the epoch.
        up: Whether Ray's processes run.
        fault: Why they do not; empty if they do, or will.
    """

    role: Role
    head: str
    address: str
    cpus: int | None = None
    jobs: int | None = None
    pid: int = 0
    started: float = 0.0
    up: bool = False
    fault: str = ""

    @property
    def file(self) -> Path:
        """Where it is stored."""
        return FOLDER / f"{self.role}-{self.pid}.json"

    @property
    def log(self) -> Path:
        """What the keeper and Ray print."""
        return self.file.with_suffix(".log")

    def store(self) -> None:
        """Write it to its file."""
        write_atomically(self.file, json.dumps(asdict(self)))

    def process(self) -> psutil.Process | None:
        """The keeper; None if it has ended."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) < 1.0:
                return process
        return None


def start(
    role: Role,
    head: str | None,
    address: str | None,
    cpus: int | None,
    jobs: int | None = None,
) -> NodeRecord:
    """Start a node on this machine, and wait until it is up.

    Args:
        role: Whether to start a cluster, or to join one.
        head: Address of the head to join; None for a head.
        address: Address to listen on, with a port for a head or without; None for loopback, or, if
            the head is on another machine, for the address from which this one reaches it.
        cpus: Processors to offer; None for all.
        jobs: Port of loopback at which a head takes Ray jobs; None to take none.

    Raises:
        SettingsError: An address is invalid, or not of this machine.
        TreinoError: The head does not answer, there is no token, a package is missing, or the node
            does not come up.
    """
    # The token is read from its file: a variable would be visible in each process.
    os.environ.pop("RAY_AUTH_TOKEN", None)
    import_ray_for(LOOPBACK)
    if role == "head":
        record = _new_head(address or LOOPBACK, cpus, jobs)
    else:
        assert head is not None
        record = _new_node(head, address, cpus)
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = _launch(record)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(0.2)
        current = _read(record.file) or record
        if current.up:
            return current
        if current.fault or current.process() is None:
            record.file.unlink(missing_ok=True)
            why = current.fault or f"it ended; see {record.log}"
            raise TreinoError(f"the {role} did not start: {why}")
    _stop(record)
    raise TreinoError(f"the {role} did not start within {PATIENCE:.0f} s; see {record.log}")


def stop(role: Role | None = None) -> list[NodeRecord]:
    """Stop the nodes that were started from this folder: those of a role, or all.

    Returns:
        The nodes that ran.
    """
    records = [record for record in running() if role in (None, record.role)]
    for record in sorted(records, key=lambda record: record.role, reverse=True):  # the head last
        _stop(record)
    return records


def running() -> Iterator[NodeRecord]:
    """The nodes that were started from this folder and run. Records of others are removed."""
    for file in sorted(FOLDER.glob("*.json")):
        record = _read(file)
        if record is not None and record.process() is not None:
            yield record
        else:
            file.unlink(missing_ok=True)


def make_token() -> None:
    """Create the token that all of a cluster's processes show, if there is none."""
    file = token_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as to:
            to.write(secrets.token_hex(32))
    file.chmod(0o600)


def _new_head(address: str, cpus: int | None, jobs: int | None) -> NodeRecord:
    with_port = address if ":" in address else f"{address}:{PORT}"
    if not is_address(with_port):
        raise SettingsError(f"--address {address!r}: expected HOST or HOST:PORT")
    host, _, port = with_port.rpartition(":")
    host = _own_address(host)
    _check_is_free(host, int(port), f"ADDRESS={host}:PORT")
    if jobs is not None:
        _check_takes_jobs()
        _check_is_free(LOOPBACK, jobs, "JOBS=PORT")
    make_token()
    return NodeRecord("head", f"{host}:{port}", host, cpus, jobs)


def _check_is_free(host: str, port: int, setting: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TreinoError(
                f"port {port} of {host} is in use: a cluster may run already (make cluster-stop), "
                f"or name another one with {setting}"
            ) from error


def _check_takes_jobs() -> None:
    from ray._private.utils import get_dashboard_dependency_error

    if get_dashboard_dependency_error() is not None:
        raise TreinoError(
            "--jobs requires more of Ray: use make, or, in treino's folder, run .venv/bin/pip "
            "install -e '.[cluster-jobs]'"
        )


def _new_node(head: str, address: str | None, cpus: int | None) -> NodeRecord:
    host, _, port = head.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            seen_as: str = connection.getsockname()[0]
            head = "{}:{}".format(*connection.getpeername()[:2])
    except OSError as error:
        raise TreinoError(
            f"no cluster answers at {head} ({error.strerror or error}): is its head running, and "
            "started with an address that this machine can reach (make cluster-head ADDRESS=...)?"
        ) from error
    check_token(head)
    token_file().chmod(0o600)
    return NodeRecord("node", head, _own_address(address) if address else seen_as, cpus)


def _own_address(host: str) -> str:
    """The IP address of a host name or address of this machine."""
    try:
        address = socket.gethostbyname(host)
        with socket.socket() as probe:
            probe.bind((address, 0))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"--address {host}: expected an address of this machine ({reason})"
        ) from error
    return address


def _launch(record: NodeRecord) -> NodeRecord:
    """Start a keeper that outlives this command."""
    log = FOLDER / f"{record.role}-{os.getpid()}.starting"
    with log.open("wb") as output:
        keeper = subprocess.Popen(  # noqa: S603 - this Python, this module
            [sys.executable, "-m", __name__, json.dumps(asdict(record)), str(FOLDER.resolve())],
            cwd=Path(__file__).parents[2],  # of which no folder hides a package of treino's
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    record = replace(record, pid=keeper.pid, started=psutil.Process(keeper.pid).create_time())
    log.replace(record.log)
    return record


def _read(file: Path) -> NodeRecord | None:
    with suppress(OSError, ValueError, TypeError):
        return NodeRecord(**json.loads(file.read_text(encoding="utf-8")))
    return None


def _stop(record: NodeRecord) -> None:
    process = record.process()
    if process is not None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except psutil.TimeoutExpired:
            process.kill()  # Ray's processes end with it
            process.wait()
    record.file.unlink(missing_ok=True)


# The keeper's process.


def keep(record: NodeRecord) -> None:
    """Start Ray's processes, and restart them when they end, until SIGTERM."""
    signal.signal(signal.SIGTERM, _leave)
    os.environ["RAY_AUTH_MODE"] = "token"
    # Training is what the memory is for; the kernel ends the largest worker, not the agent.
    configuration = {**PROBE, "memory_monitor_refresh_ms": 0}
    os.environ |= {f"RAY_{name}": str(value) for name, value in configuration.items()}
    os.environ["RAY_JOB_STOP_WAIT_TIME_S"] = str(LEAVING)
    import_ray_for(record.address)
    me = psutil.Process()
    record = replace(record, pid=me.pid, started=me.create_time())
    record.store()
    try:
        node = _start_ray(record)
        replace(record, up=True).store()
        while not node.dead_processes():
            time.sleep(0.5)
    except RuntimeError as error:  # such as another version of Ray or Python on the head
        replace(record, fault=" ".join(str(error).split())).store()
        raise
    except Exception as error:  # noqa: BLE001 - what Ray raises if the machine is too slow
        print(f"cannot start yet: {error}", flush=True)  # noqa: T201
    finally:
        for process in me.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    record.store()
    time.sleep(PAUSE)
    # Again in this process, anew: Ray's modules keep the state of what has ended.
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _start_ray(record: NodeRecord) -> Any:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    own: dict[str, Any] = {"gcs_address": record.head}
    if record.role == "head":
        own = {
            "gcs_server_port": int(record.head.rpartition(":")[2]),
            "include_dashboard": record.jobs is not None,  # which takes the jobs
            "no_monitor": True,
        }
        if record.jobs is not None:
            own["dashboard_port"] = record.jobs
    parameters = RayParams(
        node_ip_address=record.address,
        num_cpus=record.cpus,
        object_store_memory=min(MOST_STORE, psutil.virtual_memory().total // 10),
        temp_dir=f"/tmp/treino-{os.getuid()}",  # noqa: S108 - short, as its sockets require
        include_log_monitor=False,
        **own,
    )
    return Node(parameters, head=record.role == "head", shutdown_at_exit=False, spawn_reaper=True)


if __name__ == "__main__":
    FOLDER = Path(sys.argv[-1])
    keep(NodeRecord(**json.loads(sys.argv[-2])))
