"""Hosts that share only a network: a namespace of Linux each, with folders of its own."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_OWN_FOLDERS = 'for folder in /tmp /dev/shm; do mount -t tmpfs tmpfs "$folder"; done; exec "$@"'


@dataclass
class Network:
    """A switch, and hosts with the addresses 10.77.0.1, 10.77.0.2, …"""

    name: str = field(default_factory=lambda: f"treino{uuid.uuid4().hex[:6]}")
    hosts: int = 0

    def __post_init__(self) -> None:
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "add", "switch", "type", "bridge")
        _ip("-n", self.name, "link", "set", "switch", "up")

    def host(self) -> "Host":
        """Another host."""
        self.hosts += 1
        host = Host(self, self.hosts)
        _ip("netns", "add", host.name)
        ends = ("eth0", "netns", host.name, "type", "veth", "peer", "name", host.cable)
        _ip("link", "add", *ends, "netns", self.name)
        _ip("-n", self.name, "link", "set", host.cable, "master", "switch", "up")
        _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.name, "link", "set", "eth0", "up")
        return host

    def close(self) -> None:
        for number in range(1, self.hosts + 1):
            _ip("netns", "delete", Host(self, number).name)
        _ip("netns", "delete", self.name)


@dataclass(frozen=True)
class Host:
    """A host of a network."""

    network: Network
    number: int

    @property
    def name(self) -> str:
        return f"{self.network.name}-{self.number}"

    @property
    def cable(self) -> str:
        return f"cable{self.number}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def prefix(self) -> Sequence[str]:
        """What to put before a command that runs there, with /tmp and /dev/shm of its own."""
        inside = ("unshare", "--mount", "sh", "-c", _OWN_FOLDERS, "sh")
        return ("ip", "netns", "exec", self.name, *inside)

    def beside(self, pid: int, folder: Path) -> Sequence[str]:
        """What to put before a command that runs in a folder as a process there sees it."""
        return ("nsenter", "--target", str(pid), "--net", "--mount", f"--wdns={folder}")

    def cut(self) -> None:
        """Cut its cable: packets are lost, and no connection is refused."""
        _ip("-n", self.network.name, "link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("-n", self.network.name, "link", "set", self.cable, "up")


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.close()


def available() -> bool:
    """Whether this machine lets this user make networks."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare"))):
        return False
    with suppress(subprocess.CalledProcessError):
        Network().close()
        return True
    return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
