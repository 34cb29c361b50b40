"""`treino cluster`."""

from typing import Annotated, Literal

import typer

from search.console.terminal import say
from search.errors import SettingsError
from search.settings import is_address


def cluster(
    action: Annotated[
        Literal["head", "node", "stop"],
        typer.Argument(help="head: start a cluster; node: join one; stop: stop what was started."),
    ],
    what: Annotated[
        str | None,
        typer.Argument(help="For node: the head's address, host:port. For stop: head or node."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of this machine to listen on, for a head with or without port "
            "[default: 127.0.0.1; for a node of another machine's cluster, the address from which "
            "this machine reaches it]."
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(help="Number of processors to train on [default: all].", min=0),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="For head: port of 127.0.0.1 at which to take searches as Ray jobs, such as 8265 "
            "[default: none].",
            min=1,
            max=65535,
        ),
    ] = None,
) -> None:
    """Start or stop this machine's part of a cluster for treino search --cluster."""
    from search.workers import ray_node

    if jobs is not None and action != "head":
        raise SettingsError(f"cluster {action}: expected no --jobs; it is for the head")
    if action == "stop":
        if what not in (None, "head", "node"):
            raise SettingsError(f"cluster stop {what}: expected head, node or nothing")
        stopped = ray_node.stop(what)  # type: ignore[arg-type]  # as checked
        for record in stopped:
            say(f"stopped the {record.role} of cluster {record.head}")
        if not stopped:
            say("nothing to stop: no part of a cluster was started from this folder")
    elif action == "head":
        if what is not None:
            raise SettingsError(f"cluster head {what}: expected no address here; use --address")
        head = ray_node.start("head", None, address, cpus, jobs).head
        say(f"cluster {head} runs; on other machines: make cluster-node HEAD={head}")
        say(f"then here: make search CLUSTER={head}")
        if jobs is not None:
            say(
                f"or: RAY_AUTH_MODE=token .venv/bin/ray job submit --address "
                f"http://127.0.0.1:{jobs} -- make search CLUSTER={head}"
            )
    else:
        if what is None or not is_address(what):
            raise SettingsError(
                "cluster node: expected the head's address, host:port (make: HEAD=)"
            )
        record = ray_node.start("node", what, address, cpus)
        say(f"node {record.address} has joined cluster {record.head}")
