"""The tuner's side of an agent: what it was sent, what was heard of it, and its next call."""

from dataclasses import dataclass, field
from typing import Any, Literal

from search.workers.backends.exchange import Command, Request

Stage = Literal["starting", "preparing", "ready"]


@dataclass(eq=False)
class AgentHandle:
    """An agent, from its first call to its death. A new one has another handle and other slots.

    Attributes:
        node: Ray's identifier of its node.
        name: The node's name for people.
        cpus: Processors that it holds.
        actor: Ray's handle on it.
        stage: ``starting`` until it has introduced itself, then ``preparing``, then ``ready``.
        call: The call that has not returned; None if there is none.
        called: When it was made.
        waits_until: Before that time, no call is made.
        died: When its death was noticed; None while it lives.
        processor: Type of the node's processor.
        slots: Number of each of its slots in the backend, by its number there.
        commands: Commands that it may not have executed, with their numbers.
        number: Number of the last command.
        sent: Number of the last command that went with the call.
        heard: Number of the last message that was handled.
    """

    node: str
    name: str
    cpus: int
    actor: Any
    stage: Stage = "starting"
    call: Any = None
    called: float = 0.0
    waits_until: float = 0.0
    died: float | None = None
    processor: str = ""
    slots: list[int] = field(default_factory=list)
    commands: list[tuple[int, Command]] = field(default_factory=list)
    number: int = 0
    sent: int = 0
    heard: int = 0

    def command(self, command: Command) -> None:
        """Send a command with the next call."""
        self.number += 1
        self.commands.append((self.number, command))

    def make_call(self, request: Request, now: float) -> None:
        """Make its next call, unless one is under way."""
        if self.call is not None or self.died is not None or now < self.waits_until:
            return
        self.called = now
        if self.stage == "starting":
            self.call = self.actor.introduce.remote(request)
        elif self.stage == "preparing":
            self.call = self.actor.prepare.remote(request, self.cpus)
        else:
            self.sent = self.number
            self.call = self.actor.exchange.remote(self.heard, self.commands)

    def executed(self) -> None:
        """Drop the commands of the call that has returned."""
        self.commands = [each for each in self.commands if each[0] > self.sent]
