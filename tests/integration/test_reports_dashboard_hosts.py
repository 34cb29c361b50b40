"""The addresses that the dashboard listens on, and the names that it answers to."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import pytest
from optuna.storages import InMemoryStorage

from search.reports.dashboard import (
    DashboardError,
    _allowed,
    _hosts,
    application,
    serve,
    with_token,
)
from tests.support.dashboards import HOSTS, call

if TYPE_CHECKING:
    pass


def refused(host: str, port: int, *, writable: bool = False) -> str:
    """What `serve` says when it does not come so far as to listen."""
    with pytest.raises(DashboardError) as caught:
        serve(
            InMemoryStorage(),
            Path("absent"),
            host=host,
            port=port,
            writable=writable,
            announce=pytest.fail,
        )
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused("127.0.0.1", port)
    assert f"port {port} of 127.0.0.1 is in use" in told
    assert "--port" in told
    assert "PORT=" in told


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("192.0.2.1", 0, "192.0.2.1 is not an address of this machine"),
        ("a..b", 0, "--host a..b: no such address"),
        ("127.0.0.1", 70000, "--port 70000: expected 0 to 65535"),
    ],
)
def test_address_that_cannot_be_is_told(host: str, port: int, told: str) -> None:
    assert told in refused(host, port)


def test_beyond_this_machine_only_those_with_the_token_get_in() -> None:
    guarded = with_token(
        application(InMemoryStorage(), Path("absent"), writable=True, hosts=HOSTS), "secret-token"
    )

    def status(path: str, cookie: str = "") -> tuple[str, dict[str, str]]:
        environ: dict[str, object] = {}
        setup_testing_defaults(environ)
        path, _, query = path.partition("?")
        environ |= {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_COOKIE": cookie}
        environ |= {"HTTP_HOST": "localhost", "HTTP_ACCEPT_ENCODING": "gzip"}
        heard: list[tuple[str, dict[str, str]]] = []

        def start(
            line: str, headers: list[tuple[str, str]], *_: object
        ) -> Callable[[bytes], object]:
            heard.append((line, dict(headers)))
            return lambda _body: None

        list(guarded(environ, start))
        return heard[0]

    for path in ("/api/studies", "/api/studies?token=", "/api/studies?token=secret", "/dashboard"):
        assert status(path)[0] == "401 Unauthorized"
    assert status("/api/studies", "treino=guess")[0] == "401 Unauthorized"
    line, headers = status("/dashboard?token=secret-token")
    assert line == "303 See Other"
    assert headers["Location"] == "/dashboard"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    ours = cookie.partition(";")[0]
    for of_others in ("", 'theme={"a":1}; ', "a@b=1; ", "=; ;"):
        assert status("/api/studies", of_others + ours)[0] == "200 OK"
        assert status("/api/studies", of_others)[0] == "401 Unauthorized"


def test_names_that_the_dashboard_answers_to() -> None:
    assert _hosts("127.0.0.1", "127.0.0.1") == {"127.0.0.1", "localhost", "[::1]"}
    assert _hosts("0.0.0.0", "0.0.0.0") >= {socket.gethostname().lower(), "127.0.0.1"}  # noqa: S104
    assert _hosts("GPU.lan", "192.0.2.1") >= {"gpu.lan", "192.0.2.1", "localhost"}
    assert "[2001:db8::1]" in _hosts("2001:db8::1", "2001:db8::1")


def test_names_are_compared_without_port_case_final_dot_and_spelling_of_an_address() -> None:
    hosts = frozenset({"box.example", "[::1]", "[2001:db8::1]"})
    app = application(InMemoryStorage(), Path("absent"), writable=False, hosts=hosts)
    same = ("box.example", "BOX.example:8443", "box.example.", "box.example.:80", "[::1]:8080")
    for host in (*same, "[0:0:0:0:0:0:0:1]", "[2001:DB8:0::1]:1"):
        assert call(app, "GET", "/api/meta", host)[0].startswith("200"), host
    others = ("box.example.evil.example", "xbox.example", "box.example..", "::1", "[::2]", ".", "[")
    for host in (*others, "box.example:80:80", "box.example@evil.example", "*", ""):
        assert call(app, "GET", "/api/meta", host)[0].startswith("421"), host


def test_who_is_refused_is_told_the_option_that_allows_the_name() -> None:
    app = application(InMemoryStorage(), Path("absent"), writable=False, hosts=HOSTS)

    def reason(host: str) -> str:
        status, body = call(app, "GET", "/dashboard", host)
        assert status == "421 Misdirected Request"
        (line,) = body.decode("ascii").splitlines()
        return str(json.loads(line)["reason"])

    assert reason("GPU-box.lab.example:8080").endswith("--allow-host gpu-box.lab.example")
    assert reason("[2001:db8::1]:80").endswith("--allow-host [2001:db8::1]")
    for strange in ("x; rm -rf /", "a b", "", "\x1b[31m"):
        assert reason(strange).endswith("--allow-host NAME")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("box.example", "box.example"),
        ("Box.Example.", "box.example"),
        ("box.example:8080", "box.example"),
        ("2001:DB8::1", "[2001:db8::1]"),
        ("[2001:db8:0::1]:80", "[2001:db8::1]"),
        ("192.0.2.7", "192.0.2.7"),
        ("fuzzy-waffle-8080.app.github.dev", "fuzzy-waffle-8080.app.github.dev"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_name_may_be_allowed_as_people_write_it(given: str, name: str) -> None:
    assert _allowed(given) == name


@pytest.mark.parametrize(
    "given",
    ["*", "*.example", "http://box.example", "box.example/x", "a b", ".", "", "a\nb", "[::"],
)
def test_only_single_names_can_be_allowed(given: str) -> None:
    with pytest.raises(DashboardError, match="expected one host's name") as caught:
        serve(InMemoryStorage(), Path("absent"), port=0, allowed=[given], announce=pytest.fail)
    assert "--allow-host" in str(caught.value)


@pytest.mark.parametrize(
    ("writable", "allowed", "token"),
    [
        (False, (), False),
        (True, (), False),
        (False, ("box.example",), False),
        (True, ("box.example", "other.example"), True),
    ],
)
def test_allowed_names_let_nobody_write_without_the_token(
    *, writable: bool, allowed: tuple[str, ...], token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []

    class Server:
        def run(self) -> None:
            """Served enough."""

    def create_server(app: object, **_: object) -> Server:
        served.append(app)
        return Server()

    monkeypatch.setattr("waitress.create_server", create_server)
    lines: list[str] = []
    storage = InMemoryStorage()
    serve(
        storage,
        Path("absent"),
        port=0,
        writable=writable,
        allowed=allowed,
        announce=lines.append,
    )
    (app,), (line,) = served, lines
    assert ("?token=" in line) == token
    for name in allowed:
        assert name in line
        status = call(app, "GET", "/api/meta", f"{name}:8443")[0]
        assert status.startswith("401" if token else "200")
    assert call(app, "GET", "/api/meta", "evil.example")[0][:3] in ("401", "421")
    assert not call(app, "DELETE", "/api/studies/0", "evil.example")[0].startswith("2")
