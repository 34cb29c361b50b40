"""A dashboard in a process of its own, and a browser to look at it."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.storages import RDBStorage

from storage.engine import open_storage

if TYPE_CHECKING:
    from selenium import webdriver

HOSTS = frozenset({"localhost", "127.0.0.1"})
ROOT = Path(__file__).parents[2]
SERVE = """
import signal, sys
from pathlib import Path
from search.reports.dashboard import serve
from storage.engine import open_storage

signal.signal(signal.SIGINT, signal.default_int_handler)
database, artifacts, writable = sys.argv[1:]
serve(
    open_storage(database, write=True),  # so that nothing but the dashboard's guard refuses
    Path(artifacts),
    port=0,
    writable=writable == "True",
    announce=lambda line: print(line, flush=True),
)
"""


@dataclass(frozen=True)
class Made:
    database: Path
    artifacts: Path

    def storage(self) -> RDBStorage:
        return open_storage(str(self.database), write=True)

    def studies(self) -> list[str]:
        storage = open_storage(str(self.database), write=False)
        try:
            return optuna.get_all_study_names(storage)
        finally:
            storage.engine.dispose()

    def dump(self) -> list[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            return list(connection.iterdump())


@contextmanager
def serving(made: Made, *, writable: bool) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The dashboard in a process of its own, and its address without the path."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, made.database, made.artifacts, str(writable)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"(http://127\.0\.0\.1:\d+)/dashboard", line)
            assert address, f"no address in {line!r}"
            yield process, address[1]
        finally:
            process.kill()


@contextmanager
def browser(folder: Path) -> "Iterator[webdriver.Chrome]":
    """A headless Chromium that keeps a log of its console and of its requests."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "the browser test needs chromium and chromedriver: "
            "apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1400,2000", f"user-data-dir={folder / 'profile'}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def requested(chrome: "webdriver.Chrome") -> set[str]:
    """What its pages have asked for since this was last asked, but for what came with them."""
    entries = chrome.get_log("performance")  # type: ignore[no-untyped-call]
    logged = (json.loads(entry["message"])["message"] for entry in entries)
    urls = {
        message["params"]["request"]["url"]
        for message in logged
        if message["method"] == "Network.requestWillBeSent"
    }
    return {url for url in urls if not url.startswith(("chrome:", "data:", "blob:"))}


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
