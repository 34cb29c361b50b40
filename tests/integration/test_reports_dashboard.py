"""The dashboard over real HTTP and in a real browser: it shows everything and lets nothing in."""

import http.client
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.storages import InMemoryStorage

from models.history import EpochFigures
from search.figures.plots import draw_curves
from search.reports.dashboard import (
    DashboardError,
    _allowed,
    _hosts,
    application,
    serve,
    with_token,
)

if TYPE_CHECKING:
    pass
from tests.support.dashboards import Made, browser, requested, serving

NAME = "açúcar & <b>mel</b>"
TRIALS = 3
EPOCHS = 5
HOSTS = frozenset({"localhost", "127.0.0.1"})


def figures(epoch: int, trial: int) -> EpochFigures:
    return EpochFigures(
        epoch=epoch,
        loss=2.0 / epoch,
        accuracy=1 - 0.7 / epoch,
        val_loss=2.2 / epoch + 0.1 * trial,
        val_accuracy=0.9 - 0.7 / epoch,
        penalised_loss=2.1 / epoch,
        penalised_val_loss=2.3 / epoch,
        learning_rate=1e-3,
        seconds=1.0,
    )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A study of three trials with curves, in figures and as a picture."""
    made = Made(tmp_path / "treino.db", tmp_path / "artifacts")
    made.artifacts.mkdir()
    storage = made.storage()
    study = optuna.create_study(storage=storage, study_name=NAME)
    picture = tmp_path / "curves.png"
    draw_curves([figures(epoch, 0) for epoch in range(1, EPOCHS + 1)], picture, NAME)
    for number in range(TRIALS):
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_int("batch_size", 32, 128)
        history = [figures(epoch, number) for epoch in range(1, EPOCHS + 1)]
        for epoch in history:
            trial.report(epoch.val_loss, epoch.epoch)
        upload_artifact(
            artifact_store=FileSystemArtifactStore(made.artifacts),
            file_path=str(picture),
            study_or_trial=trial,
        )
        study.tell(trial, history[-1].val_loss)
    storage.engine.dispose()
    return made


def request(
    origin: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=30)
    content = None if body is None else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request(
            method,
            path,
            content,
            {"Content-Type": "application/json", "Accept-Encoding": "gzip"} | named,
        )
        response = connection.getresponse()
        return response, response.read()


def test_reads_and_refuses_to_write(made: Made) -> None:
    before = made.dump()
    with serving(made, writable=False) as (process, origin):
        response, body = request(origin, "GET", "/api/studies")
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        (study,) = json.loads(body)["study_summaries"]
        assert study["study_name"] == NAME

        (trial, *_) = json.loads(request(origin, "GET", "/api/studies/1")[1])["trials"]
        (artifact,) = trial["artifacts"]
        response, body = request(origin, "GET", f"/artifacts/1/1/{artifact['artifact_id']}")
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Content-Security-Policy"] == "sandbox allow-scripts"
        assert body.startswith(b"\x89PNG")

        assert request(origin, "HEAD", "/dashboard")[0].status == 200
        assert request(origin, "GET", "/dashboard", Host="LocalHost:1234")[0].status == 200

        for method, path, content in (
            ("DELETE", "/api/studies/1", None),
            ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
            ("POST", "/api/studies/1/rename", {"study_name": "new"}),
            ("POST", "/api/trials/1/tell", {"state": "Fail"}),
            ("POST", "/api/artifacts/1/1", {"file": "data:text/plain;base64,AAAA"}),
            ("PUT", "/api/studies/1/note", {"version": 1, "body": "new"}),
            ("PATCH", "/", None),
            ("OPTIONS", "/api/studies", None),
        ):
            response, body = request(origin, method, path, content)
            assert response.status == 405
            assert response.headers["Allow"] == "GET, HEAD"
            (line,) = body.decode().splitlines()
            assert "read-only" in json.loads(line)["reason"]
            assert "--writable" in json.loads(line)["reason"]

        for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
            response, body = request(origin, "GET", "/api/studies", Host=host)
            assert response.status == 421
            assert NAME.encode() not in body
            assert len(body.splitlines()) == 1

        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "", "")
    assert made.dump() == before


def test_writable_changes_studies_but_not_for_foreign_pages(made: Made) -> None:
    with serving(made, writable=True) as (_, origin):
        for foreign in ("http://evil.example", "null", "http://localhost:1", "http://["):
            response, _ = request(origin, "DELETE", "/api/studies/1", Origin=foreign)
            assert response.status == 403
        assert made.studies() == [NAME]
        assert request(origin, "DELETE", "/api/studies/1", Origin=origin)[0].status == 204
        assert made.studies() == []


def call(app: object, method: str, path: str, host: str = "localhost") -> tuple[str, bytes]:
    """One request without a server, for the many that would be slow with one."""
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    path, _, query = path.partition("?")
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"HTTP_HOST": host, "HTTP_ACCEPT_ENCODING": "gzip"}
    statuses: list[str] = []
    assert callable(app)
    answer = app(environ, lambda status, *_: statuses.append(status))
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return statuses[0], body


def test_no_get_route_of_the_dashboard_writes(made: Made) -> None:
    storage = made.storage()
    (trial, *_) = optuna.load_study(study_name=NAME, storage=storage).trials
    (key,) = (key for key in trial.system_attrs if key.startswith("artifacts:"))
    plots = ("contour", "slice", "parallel_coordinate", "rank", "edf", "timeline", "pareto_front")
    # What each route was last looked at with: a route that a release adds fails here.
    known = {
        "/": ["/"],
        "/dashboard<:re:(/.*)?>": ["/dashboard", "/dashboard/studies/1"],
        "/api/meta": ["/api/meta"],
        "/api/studies": ["/api/studies"],
        "/api/studies/<study_id:int>": ["/api/studies/1", "/api/studies/1?after=2"],
        "/api/studies/<study_id:int>/param_importances": ["/api/studies/1/param_importances"],
        "/api/studies/<study_id:int>/plot/<plot_type>": [
            f"/api/studies/1/plot/{plot}" for plot in plots[:-1]
        ],
        "/csv/<study_id:int>": ["/csv/1"],
        "/favicon.ico": ["/favicon.ico"],
        "/static/<filename:path>": ["/static/bundle.js"],
        "/incompatible-rdb-schema": ["/incompatible-rdb-schema"],
        "/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>": [],
        "/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>": [
            f"/artifacts/1/1/{key.partition(':')[2]}"
        ],
    }
    routes = optuna_dashboard.wsgi(storage).routes
    assert {route.rule for route in routes if route.method == "GET"} == known.keys()

    app = application(storage, made.artifacts, writable=False, hosts=HOSTS)
    before = made.dump()
    for path in (path for paths in known.values() for path in paths):
        status, _ = call(app, "GET", path)
        assert status[:3] in ("200", "302"), path
    assert made.dump() == before
    storage.engine.dispose()


@given(st.text(), st.sampled_from(("/", "/api/studies", "/api/studies/0")))
def test_nothing_but_get_and_head_passes(method: str, path: str) -> None:
    storage = InMemoryStorage()
    optuna.create_study(storage=storage, study_name="kept")
    app = application(storage, Path("absent"), writable=False, hosts=HOSTS)
    for name in (method, "DELETE", "POST", "PUT", "get"):
        if name not in ("GET", "HEAD"):
            assert call(app, name, path)[0].startswith("405")
    assert optuna.get_all_study_names(storage) == ["kept"]


@given(st.text())
def test_no_other_host_passes(host: str) -> None:
    app = application(InMemoryStorage(), Path("absent"), writable=True, hosts=HOSTS)
    passes = re.fullmatch(r"(localhost|127\.0\.0\.1)\.?(:\d*)?", host.lower()) is not None
    assert call(app, "GET", "/api/meta", host)[0].startswith("200" if passes else "421")


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
    assert status("/api/studies", cookie.partition(";")[0])[0] == "200 OK"


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


@pytest.mark.slow("starts a browser and a dashboard")
def test_browser_shows_study_curves_and_artifact_and_cannot_delete(
    made: Made, tmp_path: Path
) -> None:
    with serving(made, writable=False) as (_, origin), browser(tmp_path) as chrome:
        from selenium.webdriver.support.ui import WebDriverWait

        def shown(name: str) -> None:
            if folder := os.environ.get("SCREENSHOTS"):
                chrome.save_screenshot(str(Path(folder) / f"dashboard-{name}.png"))

        def until(script: str) -> object:
            return WebDriverWait(chrome, 30, 0.1).until(lambda _: chrome.execute_script(script))

        chrome.get(f"{origin}/dashboard")
        until(f"return document.body.innerText.includes({json.dumps(NAME)})")
        shown("studies")

        chrome.get(f"{origin}/dashboard/studies/1")
        curves = until(
            "const plot = document.getElementById('graph-intermediate-values');"
            "return plot?.querySelector('.scatterlayer .trace') && plot.data?.length &&"
            "  plot.data.map(line => Array.from(line.y))"
        )
        assert curves == [
            [figures(epoch, number).val_loss for epoch in range(1, EPOCHS + 1)]
            for number in range(TRIALS)
        ]
        shown("study")

        chrome.get(f"{origin}/dashboard/studies/1/trials?numbers=0")
        width = until(
            "const picture = document.querySelector('img[src^=\"/artifacts/\"]');"
            "return picture?.complete && picture.naturalWidth"
        )
        assert width == 1000
        shown("trial")

        assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
        assert {url for url in requested(chrome) if not url.startswith(f"{origin}/")} == set()

        status, reason = chrome.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "fetch('/api/studies/1', {method: 'DELETE'})"
            "  .then(async answer => done([answer.status, (await answer.json()).reason]))"
        )
        assert status == 405
        assert "read-only" in reason
        assert made.studies() == [NAME]
