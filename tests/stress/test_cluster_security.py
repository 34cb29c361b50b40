"""Who cannot use a cluster, where it listens, and that its token stays in its file."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from tests.support.clusters import TREINO, Cluster, Node, Search, home_of, title_of
from tests.support.pictures import image_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "images", each=20)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a node on loopback."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.join()
        yield cluster
    finally:
        cluster.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("token", [None, "0" * 64])
@pytest.mark.parametrize("command", ["search", "node"])
def test_without_the_token_or_with_another_one_nobody_gets_in(
    cluster: Cluster, images: Path, tmp_path: Path, command: str, token: str | None
) -> None:
    if token is not None:
        (tmp_path / "home/.ray").mkdir(parents=True)
        (tmp_path / "home/.ray/auth_token").write_text(token)
    arguments = {
        "search": ("search", "--data", str(images), "--cluster", cluster.address),
        "node": ("cluster", "node", cluster.address, "--cpus", "1"),
    }[command]
    ended = subprocess.run(
        [TREINO, *arguments],
        cwd=tmp_path,
        env=home_of(tmp_path),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    *_, last = ended.stderr.splitlines()
    told = "there is no token in" if token is None else "the token is not that in"
    assert last.startswith(f"treino: cluster {cluster.address}: {told} {tmp_path}/home/.ray/auth_")
    assert "InvalidAuthToken" not in ended.stderr
    assert not any((tmp_path / "var/cluster").glob("*.json"))


@pytest.mark.timeout(900)
def test_a_cluster_listens_on_loopback_and_its_token_is_in_its_file_alone(
    cluster: Cluster, images: Path
) -> None:
    token = cluster.token.read_text()
    (node,) = cluster.nodes
    assert len(token) == 64
    assert cluster.token.stat().st_mode & 0o077 == 0
    search = Search(cluster, images)
    search.until("epoch 1/")
    running = [*cluster.head.processes, *node.processes]
    titles = "\n".join(map(title_of, running))
    assert all(title in titles for title in ("ray::Agent", "/raylet", "/gcs_server"))
    running.append(psutil.Process(search.pid))
    for process in running:
        with suppress(psutil.NoSuchProcess):  # short-lived ones of Ray
            assert token not in " ".join(process.cmdline())
            assert token not in " ".join(process.environ().values())
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    address = ip_address(connection.laddr.ip.removeprefix("::ffff:"))
                    assert address.is_loopback, (process.cmdline(), connection)
    said = search.end()
    assert token not in "".join(said)
    logs = [
        file
        for place in (cluster.folder, session(node))
        for file in place.rglob("*")
        if file.is_file() and file.name != "auth_token"
    ]
    assert any("raylet" in log.name for log in logs)
    assert any(log.name == "worker-0.log" for log in logs)
    assert [log for log in logs if token.encode() in log.read_bytes()] == []


def session(node: Node) -> Path:
    """Ray's folder of the cluster, with its logs."""
    command = node.raylet.cmdline()
    (option,) = (each for each in command if each.startswith("--session_dir="))
    return Path(option.partition("=")[2])
