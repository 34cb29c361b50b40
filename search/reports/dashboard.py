"""Runs optuna-dashboard safely: read-only by default, and reachable only from this machine.

The dashboard itself has no users and deletes studies over plain HTTP, so this module decides which
requests reach it. It works only at the root of an origin.
"""

import errno
import ipaddress
import json
import logging
import re
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import optuna
from optuna.artifacts import FileSystemArtifactStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_READING = ("GET", "HEAD")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_COOKIE = "treino"
_PORT = re.compile(r":\d*$")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")

_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    # No page may put the dashboard into a frame and lure clicks into it. It frames nothing itself.
    ("X-Frame-Options", "DENY"),
]
# An HTML artifact may run its scripts, but as a stranger to the dashboard, not in its name.
_ARTIFACT_HEADERS = [("Content-Security-Policy", "sandbox allow-scripts")]


class DashboardError(Exception):
    """An address that cannot be served; the message is one line."""


def application(
    storage: optuna.storages.BaseStorage,
    artifacts: Path,
    *,
    writable: bool,
    hosts: Collection[str],
) -> "WSGIApplication":
    """The dashboard behind a guard.

    Requests that name another host are refused (421): a foreign web page whose name was made to
    lead to this machine would otherwise count as the dashboard's own. Unless ``writable``, so is
    whatever is not GET or HEAD (405); no GET of optuna-dashboard 0.21 writes.

    A database is read through Optuna's cache, which asks only for trials that were unfinished or
    absent the last time. A study that another process deletes, and one that gets its number
    after it, are seen right only by a dashboard started anew.

    Args:
        storage: What to show.
        artifacts: The folder of the files that belong to trials; need not exist yet.
        writable: Whether studies may be changed and deleted.
        hosts: The names and addresses that the dashboard answers to, lower case, IPv6 in
            brackets, without ports: a tunnel may well begin at another port.
    """
    import optuna_dashboard

    dashboard: WSGIApplication = optuna_dashboard.wsgi(
        optuna.storages.get_storage(storage), artifact_store=FileSystemArtifactStore(artifacts)
    )

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        name = _name(host)
        if name not in hosts:
            known = name if _NAME.fullmatch(name) else "NAME"
            reason = (
                f"the dashboard does not accept the host {host!r}; use the address printed at the "
                f"start, or start it with --allow-host {known}"
            )
            return _refuse(start_response, "421 Misdirected Request", reason)
        if environ["REQUEST_METHOD"] not in _READING:
            if not writable:
                reason = "the dashboard is read-only; start it with --writable to change studies"
                allow = ("Allow", ", ".join(_READING))
                return _refuse(start_response, "405 Method Not Allowed", reason, allow)
            origin = environ.get("HTTP_ORIGIN")
            if origin is not None and origin.partition("://")[2].lower() != host.lower():
                reason = (
                    f"pages of {origin} may not change studies at {host}; a proxy has to "
                    "forward the Host header"
                )
                return _refuse(start_response, "403 Forbidden", reason)
        extra = list(_HEADERS)
        if environ.get("PATH_INFO", "").startswith("/artifacts/"):
            extra += _ARTIFACT_HEADERS

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, headers + extra, *rest)

        return dashboard(environ, start)

    return guarded


def with_token(application: "WSGIApplication", token: str) -> "WSGIApplication":
    """The application for those alone who know ``token``.

    They open an address that ends in ``?token=...`` once; a cookie, which no script reads and no
    other site sends, stands for it from then on. Anyone else gets 401.
    """

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token", [""])[0]
        if secrets.compare_digest(given.encode(), token.encode()):
            cookie = f"{_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
            # To the same page without the token, which would otherwise stay in the address bar.
            home = [("Location", environ.get("PATH_INFO") or "/"), ("Set-Cookie", cookie)]
            start_response("303 See Other", [*home, ("Content-Length", "0"), *_HEADERS])
            return []
        kept = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_COOKIE)
        if kept is None or not secrets.compare_digest(kept.value.encode(), token.encode()):
            reason = "open the full address printed at the start, including the token"
            return _refuse(start_response, "401 Unauthorized", reason)
        return application(environ, start_response)

    return guarded


def serve(
    storage: optuna.storages.BaseStorage,
    artifacts: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    writable: bool = False,
    allowed: Sequence[str] = (),
    announce: Callable[[str], None],
) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        storage: What to show.
        artifacts: The folder of the files that belong to trials.
        host: Address to listen on; beyond loopback, anyone who reaches it sees all studies.
        port: Port to listen on; 0 takes a free one.
        writable: Whether studies may be changed and deleted; beyond loopback only by those who
            have the token in the address that is announced, and so wherever names are allowed,
            because these lead here from beyond.
        allowed: Further names to answer to: of a proxy, of the machine that publishes the port.
        announce: Called with a line that holds the address, once it can be opened.

    Raises:
        DashboardError: The address is not this machine's, the port is taken or not allowed, or
            a name is none.
    """
    import waitress

    further = [_allowed(name) for name in allowed]
    with _listen(host, port) as listening:
        address, port = listening.getsockname()[:2]
        # It logs every request that waits for a thread, and a browser opens six at a time.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        hosts = _hosts(host, address).union(further)
        app = application(storage, artifacts, writable=writable, hosts=hosts)
        query = ""
        if writable and (further or not ipaddress.ip_address(address).is_loopback):
            token = secrets.token_urlsafe(24)
            app, query = with_token(app, token), f"?token={token}"
        server = waitress.create_server(app, sockets=[listening], threads=8)
        shown = socket.gethostname() if ipaddress.ip_address(address).is_unspecified else address
        mode = "studies can be changed and deleted" if writable else "read-only"
        where = f"http://{_bracketed(shown)}:{port}/dashboard{query}"
        also = f"also as {', '.join(further)}; " if further else ""
        announce(f"dashboard: {where} ({mode}; {also}Ctrl-C stops it)")
        server.run()  # returns on Ctrl-C


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address, which is looked up once: checked and bound alike."""
    if not 0 <= port <= 65535:
        raise DashboardError(f"--port {port}: expected 0 to 65535")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        family, _, _, _, (address, *_) = found[0]
        return socket.create_server((address, port), family=family)
    except (socket.gaierror, UnicodeError) as error:
        raise DashboardError(f"--host {host}: no such address; use 127.0.0.1") from error
    except OSError as error:
        choose = "choose another with --port or PORT=…"
        reasons = {
            errno.EADDRINUSE: f"port {port} of {host} is in use; {choose}",
            errno.EACCES: f"port {port} is reserved for system services; {choose}",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine; use 127.0.0.1",
        }
        otherwise = f"cannot listen on port {port} of {host}: {error.strerror}; {choose}"
        raise DashboardError(reasons.get(error.errno or 0, otherwise)) from error


def _hosts(host: str, address: str) -> frozenset[str]:
    """What a browser may call the dashboard; by none of these can a foreign page come in."""
    import psutil

    names = {host, address}
    bound = ipaddress.ip_address(address)
    if not bound.is_loopback:
        names.add(socket.gethostname())
    if bound.is_unspecified:  # any address of the machine's leads here
        for addresses in psutil.net_if_addrs().values():
            names.update(a.address for a in addresses if a.family in _INTERNET)
    return _LOOPBACK.union(_name(_bracketed(name)) for name in names)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _name(host: str) -> str:
    """A Host header's name or address in one spelling: without port, case and the root's dot."""
    name = _PORT.sub("", host).lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]"):
        try:
            return f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return name
    return name


def _allowed(given: str) -> str:
    """A name that the user allows, as `_name` gives it: one host, never all or some of them."""
    try:
        name = f"[{ipaddress.IPv6Address(given)}]"
    except ValueError:
        name = _name(given)
    if not name.isascii():  # browsers ask for a name of other letters in its ASCII form
        with suppress(UnicodeError):
            name = name.encode("idna").decode()
    if not _NAME.fullmatch(name):
        raise DashboardError(
            f"--allow-host {given}: expected one host's name or address, such as box.example, "
            "without scheme, path or *"
        )
    return name


def _refuse(
    start_response: "StartResponse", status: str, reason: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    # The dashboard's pages show what an answer gives as its reason.
    body = json.dumps({"reason": reason}).encode() + b"\n"
    length = ("Content-Length", str(len(body)))
    content = [("Content-Type", "application/json"), length, *_HEADERS]
    start_response(status, [*content, *headers])
    return [body]
