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
    # Other pages must not frame the dashboard to capture clicks. It frames nothing itself.
    ("X-Frame-Options", "DENY"),
]
# An HTML artifact may run scripts, but in a separate origin.
_ARTIFACT_HEADERS = [("Content-Security-Policy", "sandbox allow-scripts")]


class DashboardError(Exception):
    """The dashboard cannot be served at an address; the message is one line."""


def application(
    storage: optuna.storages.BaseStorage,
    artifacts: Path,
    *,
    writable: bool,
    hosts: Collection[str],
) -> "WSGIApplication":
    """The dashboard behind a request filter.

    Requests that name another host are refused (421): otherwise a foreign web page whose name
    resolves to this machine would count as the dashboard's own (DNS rebinding). Unless
    ``writable``, requests other than GET and HEAD are refused too (405); no GET of
    optuna-dashboard 0.21 writes.

    A database is read through Optuna's cache, which asks only for trials that were unfinished or
    absent the last time. If another process deletes a study, or reuses its number, only a restarted
    dashboard shows that.

    Args:
        storage: The storage to show.
        artifacts: The folder of artifacts; it need not exist yet.
        writable: Whether studies may be changed and deleted.
        hosts: The names and addresses that the dashboard answers to, lower case, IPv6 in
            brackets, without ports, because a tunnel may start at another port.
    """
    import optuna_dashboard

    dashboard: WSGIApplication = optuna_dashboard.wsgi(
        optuna.storages.get_storage(storage), artifact_store=FileSystemArtifactStore(artifacts)
    )

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        name = _name(host)
        if name not in hosts:
            allowed = name if _NAME.fullmatch(name) else "NAME"
            reason = (
                f"the dashboard does not accept the host {host!r}; use the address printed at the "
                f"start, or start it with --allow-host {allowed}"
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
    """Restrict the application to users who have ``token``.

    They open an address that ends in ``?token=...`` once. After that a cookie replaces it, which
    scripts cannot read and other sites do not send. Anyone else gets 401.
    """

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        sent = parse_qs(environ.get("QUERY_STRING", "")).get("token", [""])[0]
        if secrets.compare_digest(sent.encode(), token.encode()):
            cookie = f"{_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
            # Redirect to the same page without the token, so that it leaves the address bar.
            home = [("Location", environ.get("PATH_INFO") or "/"), ("Set-Cookie", cookie)]
            start_response("303 See Other", [*home, ("Content-Length", "0"), *_HEADERS])
            return []
        # Other services of the host set cookies, too, and SimpleCookie fails at some of them.
        cookies = [
            each.strip().partition("=") for each in environ.get("HTTP_COOKIE", "").split(";")
        ]
        kept = next((value for name, _, value in cookies if name == _COOKIE), "")
        if not secrets.compare_digest(kept.encode(), token.encode()):
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
        storage: The storage to show.
        artifacts: The folder of artifacts.
        host: Address to listen on; beyond loopback, anyone who reaches it sees all studies.
        port: Port to listen on; 0 takes a free one.
        writable: Whether studies may be changed and deleted. Beyond loopback, or with allowed
            names, only with the token in the announced address.
        allowed: Further names to accept: of a proxy, of the machine that publishes the port.
        announce: Called with a line that has the address, once it can be opened.

    Raises:
        DashboardError: The address is not this machine's, the port is in use or not allowed, or
            a name is invalid.
    """
    import waitress

    further = [_allowed(name) for name in allowed]
    with _listen(host, port) as listening:
        address, port = listening.getsockname()[:2]
        # It logs every request that waits for a thread, and a browser sends six at a time.
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
    """Open a socket on the address, which is resolved once for the check and the bind."""
    if not 0 <= port <= 65535:
        raise DashboardError(f"--port {port}: expected 0 to 65535")
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        family, _, _, _, (address, *_) = addresses[0]
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
    """Host names that a browser may use for the dashboard; none can be a foreign page's."""
    import psutil

    names = {host, address}
    bound = ipaddress.ip_address(address)
    if not bound.is_loopback:
        names.add(socket.gethostname())
    if bound.is_unspecified:  # listens on all addresses of the machine
        for addresses in psutil.net_if_addrs().values():
            names.update(a.address for a in addresses if a.family in _INTERNET)
    return _LOOPBACK.union(_name(_bracketed(name)) for name in names)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _name(host: str) -> str:
    """Normalise a Host header: without port, lower case, without trailing dot."""
    name = _PORT.sub("", host).lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]"):
        try:
            return f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return name
    return name


def _allowed(host: str) -> str:
    """A host name that the user allows, normalised as by `_name`; no wildcards."""
    try:
        name = f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        name = _name(host)
    if not name.isascii():  # browsers send such names in ASCII form
        with suppress(UnicodeError):
            name = name.encode("idna").decode()
    if not _NAME.fullmatch(name):
        raise DashboardError(
            f"--allow-host {host}: expected one host's name or address, such as box.example, "
            "without scheme, path or *"
        )
    return name


def _refuse(
    start_response: "StartResponse", status: str, reason: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    # The dashboard's pages show the reason in an answer.
    body = json.dumps({"reason": reason}).encode() + b"\n"
    length = ("Content-Length", str(len(body)))
    content = [("Content-Type", "application/json"), length, *_HEADERS]
    start_response(status, [*content, *headers])
    return [body]
