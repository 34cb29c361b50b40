"""The Ray backend: workers are processes of a cluster's nodes, which share only a network.

On each node, one long-lived actor (``agent.Agent``) holds all processors and GPUs of the node for
this search, and trains its jobs. Ray's scheduler starts an agent only when the node is free, so
searches never share a slot; it starts the actor of a waiting search once another has ended.

Ray notices a lost machine within ``DETECTION`` seconds, and a dead process at once.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import files_of
from search.clock import Clock
from search.console.text import plural
from search.errors import TreinoError
from search.protocol import End, Failed, Job, Message, Verdict
from search.workers.backends.agent import Agent, processor, versions
from search.workers.backends.agent_handle import AgentHandle
from search.workers.backends.base import Backend
from search.workers.backends.exchange import (
    Answer,
    Delivery,
    File,
    Introduction,
    Kill,
    Prepared,
    Request,
    Start,
)
from search.workers.backends.ray_connection import connect, reach, signals_kept
from storage.errors import StorageError
from storage.files import write_atomically

DETECTION = 65.0  # maximum seconds in which a silent machine is noticed: five probes in a row
SILENCE = 60.0  # seconds after which an agent that does not answer is given up
DYING = 0.5  # seconds in which the cause of an agent's death becomes known
LOOK = 0.5  # seconds between two looks at the list of nodes
REPEAT = 1.0  # seconds before a call that may not have arrived is made again
SLOW_START = 5.0  # seconds in which an agent starts on a node that is free
PART = 32 * 2**20  # bytes of a part of the images
PATIENCE = 3  # agents of a node that may die before their first message


class RayBackend(Backend):
    """Slots of all nodes of a Ray cluster that fit and are free. Nodes may come and go.

    Args:
        address: Address of the cluster's head, ``host:port``. This machine has to be a node.
        request: What the search asks of every node.
        images: Folder of the decoded images on this machine.

    Raises:
        TreinoError: There is no such cluster, or this machine may not use it.
    """

    def __init__(self, address: str, request: Request, images: Path) -> None:
        self._address = address
        self._request = request
        self._images = images
        self._parts: list[tuple[str, int, Any]] | None = None  # file, position, Ray's reference
        self._versions = versions()
        self._clock = Clock()
        self._agents: dict[str, AgentHandle] = {}  # by node
        self._excluded: set[str] = set()
        self._deaths: dict[str, int] = {}  # agents that died early, by node
        self._jobs: dict[int, Job] = {}
        self._owners: dict[int, tuple[AgentHandle, int]] = {}  # agent and its own number, by slot
        self._next_slot = 0
        self._looked = float("-inf")
        self._alive: set[str] = set()
        self._lines: list[str] = []
        self._waits_for = ""
        self._head_is_gone = False
        self._ray = connect(address)

    @property
    def slots(self) -> Sequence[int]:
        """Numbers of the slots. They come and go with their nodes."""
        return sorted(self._owners)

    @property
    def summary(self) -> str:
        """Number of nodes and workers."""
        nodes = {agent.node for agent, _ in self._owners.values()}
        return f"{plural(len(nodes), 'node')}, {plural(len(self._owners), 'worker')}"

    def news(self) -> list[str]:
        """Nodes that have come, gone or been left out, and what a search without any waits for."""
        lines, self._lines = self._lines, []
        return lines

    def processor(self, slot: int) -> str:
        """Type of the processor of a slot's node."""
        agent, _ = self._owners[slot]
        return agent.processor

    def start(self, slot: int, job: Job) -> None:
        """Start a job in a free slot. Its checkpoint, if any, travels to the node."""
        if slot in self._jobs:
            raise RuntimeError(f"slot {slot} is busy with {self._jobs[slot].run}")
        files: dict[File, bytes] = {}
        with suppress(FileNotFoundError):
            files["checkpoint"] = job.checkpoint.read_bytes()
        self._jobs[slot] = job
        agent, own = self._owners[slot]
        agent.command(Start(own, job, files))

    def wait(self, timeout: float) -> list[tuple[int, Message]]:
        """Return messages with their slots; nodes come and go here."""
        with self._told_if_gone():
            self._look_for_nodes()
            timeout = self._until_a_cause_is_known(timeout)
            for agent in self._agents.values():
                agent.make_call(self._request, self._clock())
            calls = {a.call: a for a in self._agents.values() if a.call is not None}
            ready: list[Any] = []
            if calls:
                ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout)
                if ready:
                    ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
            else:
                time.sleep(timeout)
        messages = [each for call in ready for each in self._reply(calls[call])]
        messages += self._give_up_the_lost()
        self._say_what_it_waits_for()
        return messages

    def _until_a_cause_is_known(self, timeout: float) -> float:
        """Seconds to wait: ``timeout``, or less if an agent's death is to be told before."""
        deaths = [agent.died for agent in self._agents.values() if agent.died is not None]
        left = min(deaths, default=math.inf) + DYING - self._clock()
        return min(timeout, max(left, 0.0))

    def answer(self, slot: int, verdict: Verdict) -> None:
        """Answer the slot's Resumed or EpochDone."""
        if slot in self._owners:
            agent, own = self._owners[slot]
            agent.command(Answer(own, verdict))

    def kill(self, slot: int, reason: str) -> None:
        """Kill the slot's process."""
        if slot in self._owners:
            agent, own = self._owners[slot]
            agent.command(Kill(own, reason))

    def close(self) -> None:
        """End all agents and leave the cluster."""
        if self._head_is_gone:
            return  # the agents end by themselves, and Ray would wait for the head
        closing = [agent.actor.close.remote() for agent in self._agents.values()]
        with suppress(Exception):  # the cluster may be gone
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=2.0)
            for agent in self._agents.values():
                self._ray.kill(agent.actor)
        with signals_kept():
            self._ray.shutdown()

    @contextmanager
    def _told_if_gone(self) -> Iterator[None]:
        """Turn the errors of a cluster that has gone, in the block, into a TreinoError."""
        from ray import exceptions

        try:
            yield
        except (OSError, exceptions.RayError) as error:  # OSError: also of Ray's process here
            self._head_is_gone = True
            raise TreinoError(
                f"the head of cluster {self._address} does not answer; everything is saved: start "
                "it again (make cluster-head) and run the same command"
            ) from error

    # Nodes.

    def _look_for_nodes(self) -> None:
        """Start an agent on every node that has none, and drop what is known of nodes that left."""
        now = self._clock()
        if now - self._looked < LOOK:
            return
        self._looked = now
        reach(self._address)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self._alive = {node["NodeID"] for node in nodes}
        for node in nodes:
            cpus = int(node["Resources"].get("CPU", 0))
            identity = node["NodeID"]
            if cpus and identity not in self._agents and identity not in self._excluded:
                self._start_agent(identity, _name(node, nodes), cpus, node["Resources"])

    def _start_agent(self, node: str, name: str, cpus: int, resources: Mapping[str, float]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # All processors and GPUs: Ray starts the agent when no other search has them.
        actor = (
            self._ray.remote(Agent)
            .options(
                num_cpus=cpus,
                num_gpus=resources.get("GPU", 0),
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote()
        )
        self._agents[node] = AgentHandle(node, name, cpus, actor)

    def _reply(self, agent: AgentHandle) -> list[tuple[int, Message]]:
        """Handle the reply to an agent's call."""
        from ray import exceptions

        call, agent.call = agent.call, None
        try:
            reply = self._ray.get(call)
        except (exceptions.ActorUnavailableError, exceptions.ObjectLostError):
            # It may have run or not: make it again. What was done is not done twice.
            agent.waits_until = self._clock() + REPEAT
            return []
        except exceptions.RayTaskError as error:
            return self._exclude(agent, " ".join(str(error.cause).split()))
        except exceptions.RayError:
            agent.died = self._clock()
            self._looked = float("-inf")  # to learn whether its node is there
            return []
        match reply:
            case Introduction():
                return self._introduced(agent, reply)
            case Prepared():
                return self._prepared(agent, reply)
        agent.executed()
        return [each for delivery in reply for each in self._deliver(agent, delivery)]

    def _introduced(self, agent: AgentHandle, node: Introduction) -> list[tuple[int, Message]]:
        for name, version in self._versions.items():
            if node.versions.get(name) != version:
                return self._exclude(
                    agent, f"it has {name} {node.versions.get(name)}, not {version} as here"
                )
        if node.fault:
            return self._exclude(agent, node.fault)
        agent.processor = node.processor
        if not node.has_images:
            for file, start, part in self._send_images():
                agent.actor.store.remote(file, start, part)  # in order, before prepare
        agent.stage = "preparing"
        return []

    def _prepared(self, agent: AgentHandle, node: Prepared) -> list[tuple[int, Message]]:
        if node.fault:
            return self._exclude(agent, node.fault)
        agent.stage = "ready"
        for own in range(node.workers):
            agent.slots.append(self._next_slot)
            self._owners[self._next_slot] = agent, own
            self._next_slot += 1
        other = f", {agent.processor}" if agent.processor != processor() else ""
        self._lines.append(f"node {agent.name}: {node.told}{other}")
        if node.little_room:
            self._lines.append(
                f"node {agent.name}: {node.little_room}: a trial that runs out of memory there is "
                "pruned (--max-params limits the size)"
            )
        return []

    def _send_images(self) -> list[tuple[str, int, Any]]:
        """The images in Ray's object store, from which each node takes them once."""
        if self._parts is None:
            self._parts = [
                (file.name, start, self._ray.put(content[start : start + PART]))
                for file in files_of(self._images)
                for content in [np.memmap(file, np.uint8, "r")]
                for start in range(0, len(content), PART)
            ]
        return self._parts

    # Messages.

    def _deliver(self, agent: AgentHandle, delivery: Delivery) -> Iterator[tuple[int, Message]]:
        """A message that is new, once its files are on disk."""
        if delivery.number <= agent.heard:
            return
        agent.heard = delivery.number
        self._deaths.pop(agent.node, None)
        slot, message = agent.slots[delivery.slot], delivery.message
        job = self._jobs.get(slot)
        if job is None:  # given up
            return
        if isinstance(message, Failed) and message.kind == "environment":
            # The node's disk or cache, not the tuner's: the trial goes on elsewhere.
            yield from self._exclude(agent, message.reason)
            return
        try:
            for name, content in delivery.files.items():
                write_atomically(getattr(job, name), content)
        except StorageError as error:
            message = Failed("environment", str(error))
            agent.command(Kill(delivery.slot, message.reason))
            del self._owners[slot]  # until its worker has died
        if isinstance(message, End):
            del self._jobs[slot]
        if isinstance(message, Failed) and message.kind == "died":
            message = Failed("died", f"{message.reason} on node {agent.name}")
        yield slot, message

    def _exclude(self, agent: AgentHandle, reason: str) -> list[tuple[int, Message]]:
        """Leave a node out until it joins again."""
        self._excluded.add(agent.node)
        self._lines.append(f"node {agent.name} is left out: {reason}")
        return self._drop(agent, Failed("lost", f"node {agent.name} is left out"))

    def _give_up_the_lost(self) -> list[tuple[int, Message]]:
        """End the jobs of agents that are dead or silent."""
        messages: list[tuple[int, Message]] = []
        now = self._clock()
        for agent in list(self._agents.values()):
            if agent.node not in self._alive:
                if agent.slots:
                    self._lines.append(f"node {agent.name} has left")
                messages += self._drop(agent, Failed("lost", f"node {agent.name} has left"))
            elif agent.died is not None and now - agent.died >= DYING:
                messages += self._after_death(agent)
            elif agent.stage == "ready" and agent.call and now - agent.called > SILENCE:
                self._lines.append(f"node {agent.name} is silent for {SILENCE:.0f} s: given up")
                messages += self._drop(agent, Failed("lost", f"node {agent.name} was silent"))
        return messages

    def _after_death(self, agent: AgentHandle) -> list[tuple[int, Message]]:
        """End the jobs of an agent that died on a living node, and let another one start."""
        deaths = self._deaths[agent.node] = self._deaths.get(agent.node, 0) + 1
        if deaths >= PATIENCE:
            return self._exclude(agent, f"its agent died {deaths} times in a row")
        if agent.slots:
            self._lines.append(f"the agent of node {agent.name} died; starting another one")
        return self._drop(agent, Failed("died", f"the agent of node {agent.name} died"))

    def _drop(self, agent: AgentHandle, end: Failed) -> list[tuple[int, Message]]:
        """Forget an agent. What it may still send is never read."""
        del self._agents[agent.node]
        with suppress(Exception):  # the cluster may be gone
            self._ray.kill(agent.actor)
        messages: list[tuple[int, Message]] = []
        for slot in agent.slots:
            self._owners.pop(slot, None)
            if self._jobs.pop(slot, None) is not None:
                messages.append((slot, end))
        return messages

    def _say_what_it_waits_for(self) -> None:
        """One line for a search without slots, when what it waits for changes."""
        waits_for = ""
        if not self._owners:
            waits_for = self._waits_for
            starting = [agent for agent in self._agents.values() if agent.stage == "starting"]
            if not self._agents:
                waits_for = f"a node to join: make cluster-node HEAD={self._address}"
            elif len(starting) == len(self._agents) and all(
                self._clock() - agent.called > SLOW_START for agent in starting
            ):
                names = ", ".join(agent.name for agent in starting)
                waits_for = f"{names}, which other searches may be using"
        if waits_for and waits_for != self._waits_for:
            self._lines.append(f"waiting for {waits_for}")
        self._waits_for = waits_for


def _name(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """A node's address; with a part of its identifier if another node has the same one."""
    address: str = node["NodeManagerAddress"]
    same = sum(each["NodeManagerAddress"] == address for each in nodes)
    return address if same == 1 else f"{address} ({node['NodeID'][:4]})"
