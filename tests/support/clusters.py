"""Real clusters on this machine. Each node has a home, a cache and a working folder of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import psutil

from data.dataset import Dataset
from search.protocol import Message
from search.workers.backends.exchange import Request
from search.workers.backends.ray import RayBackend
from search.workers.ray_node import NodeRecord
from storage.engine import database_url, open_storage
from tests.support.networks import Host, Network

TREINO, RAY = (str(Path(sys.executable).with_name(name)) for name in ("treino", "ray"))
EPOCHS = 4
SEARCH = (
    *("search", "--study", "s", "--image-size", "8", "--trials", "2", "--epochs", str(EPOCHS)),
    *("--sampler", "random", "--pruner", "none", "--workers", "1"),
)


@dataclass
class Node:
    """A node that the user has started in a folder of its own."""

    folder: Path
    record: NodeRecord
    host: Host | None = None

    @property
    def cache(self) -> Path:
        return self.folder / "home/.cache/treino"

    @property
    def agents(self) -> list[psutil.Process]:
        """The agents of searches."""
        return [process for process in self.processes if "ray::Agent" in title_of(process)]

    @property
    def workers(self) -> list[psutil.Process]:
        """Worker processes: those that write a worker's log."""
        return [process for process in self.processes if log_of(process) is not None]

    @property
    def raylet(self) -> psutil.Process:
        return next(p for p in self.processes if Path(title_of(p)).name == "raylet")

    @property
    def processes(self) -> list[psutil.Process]:
        """Its keeper, and all processes of Ray and treino below it."""
        keeper = psutil.Process(self.record.pid)
        return [keeper, *keeper.children(recursive=True)]

    def kill(self) -> None:
        """End it as a power cut would."""
        psutil.Process(self.record.pid).kill()


@dataclass
class Cluster:
    """A cluster whose head trains nothing: on loopback, or on the hosts of a network.

    With ``jobs``, a port, its head takes Ray jobs.
    """

    folder: Path
    network: Network | None = None
    jobs: int | None = None
    nodes: list[Node] = field(default_factory=list)
    joined: int = 0

    def __post_init__(self) -> None:
        host, address = None, f"127.0.0.1:{free_port()}"
        if self.network is not None:
            host = self.network.host()
            address = host.address
        jobs = () if self.jobs is None else ("--jobs", str(self.jobs))
        self.head = self._start("head", host, "head", "--address", address, "--cpus", "0", *jobs)

    @property
    def address(self) -> str:
        return self.head.record.head

    @property
    def submission(self) -> Sequence[str]:
        """What to put before a command that runs as a job in the head's folder."""
        if self.jobs is None:
            return ()
        where = f"http://127.0.0.1:{self.jobs}"
        return (RAY, "job", "submit", "--address", where, "--", "env", f"-C{self.head.folder}")

    @property
    def token(self) -> Path:
        return self.head.folder / "home/.ray/auth_token"

    def join(self, cpus: int = 1, **environment: str) -> Node:
        """Start another node."""
        self.joined += 1
        name = f"node {self.joined}"
        copy = self.folder / name / "home/.ray/auth_token"
        copy.parent.mkdir(parents=True)
        shutil.copy(self.token, copy)
        arguments = ("node", self.address, "--cpus", str(cpus))
        host = self.network.host() if self.network is not None else None
        node = self._start(name, host, *arguments, **environment)
        self.nodes.append(node)
        return node

    def leave(self, node: Node) -> None:
        """Stop a node."""
        run_treino(node.folder, "cluster", "stop")

    def rejoin(self, node: Node, cpus: int = 1) -> None:
        """Start a node that has left, with what is in its folder."""
        node.record = self._start(
            node.folder.name, node.host, "node", self.address, "--cpus", str(cpus)
        ).record

    def restart_head(self) -> None:
        """Start the head again after its death, at the same address."""
        address = ("--address", self.address)
        self.head = self._start("head", self.head.host, "head", *address, "--cpus", "0")

    def close(self) -> None:
        for node in (*self.nodes, self.head):
            run_treino(node.folder, "cluster", "stop")

    def _start(self, name: str, host: Host | None, *arguments: str, **environment: str) -> Node:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        prefix = host.prefix if host is not None else ()
        run_treino(folder, "cluster", *arguments, prefix=prefix, **environment)
        files = (folder / "var/cluster").glob("*.json")
        newest = max(files, key=lambda file: file.stat().st_mtime)
        return Node(folder, NodeRecord(**json.loads(newest.read_text())), host)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def run_treino(
    folder: Path, *arguments: str, prefix: Sequence[str] = (), **environment: str
) -> str:
    """What a command prints on a machine whose home is in ``folder``."""
    ended = subprocess.run(
        [*prefix, TREINO, *arguments],
        cwd=folder,
        env={**home_of(folder), **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def home_of(folder: Path) -> dict[str, str]:
    """The environment of a machine whose home is in ``folder``."""
    return {**os.environ, "HOME": str(folder / "home")}


@contextmanager
def cluster_of(folder: Path, nodes: int) -> Iterator[Cluster]:
    """A cluster with nodes of one processor each, which this process may use."""
    cluster = Cluster(folder)
    try:
        for _ in range(nodes):
            cluster.join()
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(cluster.token)
        yield cluster
    finally:
        os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
        cluster.close()


def title_of(process: psutil.Process) -> str:
    """The program of a process, or the title that it has given itself; empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return next(iter(process.cmdline()), "")
    return ""


def log_of(process: psutil.Process) -> Path | None:
    """The log that a worker writes; None for other processes."""
    log = Path(f"/proc/{process.pid}/fd/1")
    try:
        file = log.resolve()
    except OSError:
        return None
    return file if file.name.startswith("worker-") and file.suffix == ".log" else None


@contextmanager
def one_core() -> Iterator[None]:
    """A machine of one core, for the processes that are started in the block."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def on_one_machine(folder: Path, images: Path, *more: str) -> list[object]:
    """The curves of the search on a single machine, with one thread for its worker."""
    with one_core():
        folder.mkdir(exist_ok=True)
        run_treino(folder, *SEARCH, "--data", str(images), *more)
    return curves(folder)


def curves(folder: Path, study: str = "s", url: str = "") -> list[object]:
    """The trials of a study in a folder's database, or in that at ``url``."""
    url = url or database_url(str(folder / "var/treino.db"))
    storage = open_storage(url, write=False)
    try:
        trials = optuna.load_study(study_name=study, storage=storage).get_trials()
        return [(t.state, t.params, t.value, t.intermediate_values) for t in trials]
    finally:
        storage.engine.dispose()


class Search:
    """A search on a cluster, started on its head; as a job if the head takes jobs."""

    def __init__(self, cluster: Cluster, images: Path, *more: str) -> None:
        self.lines: list[str] = []
        head = cluster.head
        prefix = head.host.beside(head.record.pid, head.folder) if head.host is not None else ()
        command = (TREINO, *SEARCH, "--data", str(images), "--cluster", cluster.address, *more)
        self._process = subprocess.Popen(
            [*prefix, *cluster.submission, *command],
            cwd=cluster.head.folder,
            env={**home_of(cluster.head.folder), "RAY_AUTH_MODE": "token"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def until(self, *texts: str) -> None:
        """Wait until it has said one of the texts."""
        deadline = time.monotonic() + 400
        while not any(text in line for line in self.lines for text in texts):
            assert self._process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.1)

    def end(self, code: int = 0) -> list[str]:
        """Wait for its end; return what it said."""
        ended = self._process.wait(timeout=600)
        self._reader.join()
        assert ended == code, "".join(self.lines)
        return self.lines

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            self.lines.extend(output)


def repeated(cluster: Cluster) -> int:
    """Epochs that were trained more often than once, in all nodes' logs."""
    logs = [log for node in cluster.nodes for log in node.cache.glob("logs/s/*.log")]
    saved = [line for log in logs for line in log.read_text().splitlines() if "is saved" in line]
    return len(saved) - len(set(saved))


@contextmanager
def opened(
    cluster: Cluster, data: Dataset, slots: int = 2, **request: object
) -> Iterator[RayBackend]:
    """A backend once it has that many slots."""
    size = sum(file.stat().st_size for file in data.path.iterdir())
    wanted = Request("a study", data.path.name, size, **request)  # type: ignore[arg-type]
    with RayBackend(cluster.address, wanted, data.path) as backend:
        until(backend, lambda: len(backend.slots) == slots)
        yield backend


def until(backend: RayBackend, condition: Callable[[], bool]) -> list[tuple[int, Message]]:
    """Messages until a condition holds."""
    messages: list[tuple[int, Message]] = []
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, (backend.summary, backend.news())
        messages += backend.wait(0.2)
    return messages
