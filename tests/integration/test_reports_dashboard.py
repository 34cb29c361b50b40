"""The dashboard over real HTTP and in a real browser: it shows everything and lets nothing in."""

import http.client
import json
import os
import re
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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
    application,
)

if TYPE_CHECKING:
    pass
from tests.support.dashboards import HOSTS, Made, browser, call, requested, serving

NAME = "açúcar & <b>mel</b>"
TRIALS = 3
EPOCHS = 5


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
