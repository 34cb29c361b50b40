"""Where the workers of a session run: on this machine, or on the nodes of a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.dataset import Dataset, files_of
from search.workers import hardware
from search.workers.backends.base import Backend
from search.workers.backends.exchange import Request
from search.workers.backends.local import LocalBackend, Slot
from search.workers.backends.ray import RayBackend
from search.workers.own_files import collect


@dataclass(frozen=True)
class Need:
    """What the trainings of a session need.

    Attributes:
        data: The images.
        smallest: Bytes that the smallest network needs; 0 if unknown.
        largest: Bytes that the largest network needs; 0 if unknown.
        code: Reference to the user's function that builds the networks; empty for others.
        jobs: Number of jobs there will be; 0 if unknown.
    """

    data: Dataset
    smallest: int = 0
    largest: int = 0
    code: str = ""
    jobs: int = 0


class Resources(ABC):
    """Workers of a session before it opens."""

    @property
    @abstractmethod
    def memory(self) -> int | None:
        """Bytes that one worker may use; None if unknown."""

    def few(self, largest: int) -> str:
        """One line on why there are few workers for networks of ``largest`` bytes, or nothing."""
        return ""

    @abstractmethod
    def __str__(self) -> str:
        """The workers in a phrase."""

    @abstractmethod
    def open(self, study: str, logs: Path) -> Backend:
        """Start the backend.

        Args:
            study: Name of the study.
            logs: Folder for what workers of this machine print.

        Raises:
            TreinoError: There is no such cluster, or this machine may not use it.
        """


@dataclass(frozen=True)
class LocalResources(Resources):
    """Workers of this machine."""

    slots: Sequence[Slot]

    @property
    def memory(self) -> int | None:
        """Bytes of free memory per worker."""
        return hardware.memory(self.slots)

    def few(self, largest: int) -> str:
        """One line if memory allows fewer workers than cores; else empty."""
        return hardware.few_workers(self.slots, largest)

    def __str__(self) -> str:
        return hardware.told(self.slots)

    def open(self, study: str, logs: Path) -> Backend:
        """Prepare one process per slot."""
        return LocalBackend(self.slots, logs)


@dataclass(frozen=True)
class ClusterResources(Resources):
    """Workers of all nodes of a cluster, on each as on a single machine.

    Attributes:
        address: Address of the cluster's head.
        workers: Workers on each node; 0 to decide there.
        need: What the trainings need.
    """

    address: str
    workers: int
    need: Need

    @property
    def memory(self) -> None:
        """Unknown: each node checks its own."""
        return

    def __str__(self) -> str:
        return f"workers of the cluster {self.address}"

    def open(self, study: str, logs: Path) -> Backend:
        """Connect to the cluster; its nodes join one after the other."""
        folder = self.need.data.path
        request = Request(
            study=study,
            images=folder.name,
            size=sum(file.stat().st_size for file in files_of(folder)),
            code=collect(self.need.code) if self.need.code else {},
            workers=self.workers,
            smallest=self.need.smallest,
            largest=self.need.largest,
            jobs=self.need.jobs,
        )
        return RayBackend(self.address, request, folder)


def resources(cluster: str | None, workers: int, need: Need) -> Resources:
    """Workers for trainings.

    Args:
        cluster: Address of a cluster's head; None for this machine.
        workers: Number of workers, on each node; 0 to decide by cores, GPUs and memory.
        need: What the trainings need.

    Raises:
        TreinoError: No worker of this machine has enough memory for any network.
    """
    if cluster is not None:
        return ClusterResources(cluster, workers, need)
    slots = hardware.slots(workers, need.largest, jobs=need.jobs)
    hardware.check_room(slots, need.smallest)
    return LocalResources(slots)
