"""Two searches of a team at once: one cluster, one PostgreSQL database, one dashboard."""

import http.client
import importlib.util
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.clusters import (
    TREINO,
    Cluster,
    Search,
    curves,
    free_port,
    home_of,
    on_one_machine,
)
from tests.support.databases import server_database
from tests.support.pictures import image_folder

pytest_plugins = ["tests.support.database_fixtures"]
STUDIES = ("one", "two")
ORIGIN = re.compile(r"http://([^/]+)/dashboard")


@pytest.fixture(params=["from a terminal", "as jobs"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    jobs = None
    if request.param == "as jobs":
        jobs = free_port()
        if importlib.util.find_spec("aiohttp_cors") is None:  # which only Ray's jobs need
            pytest.skip("Ray takes no jobs: pip install 'treino[cluster-jobs]'")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), jobs=jobs)
    try:
        for _ in range(2):
            cluster.join()
        yield cluster
    finally:
        cluster.close()


@pytest.mark.timeout(1500)
def test_two_searches_share_a_cluster_and_a_database_and_one_dashboard_shows_both(
    cluster: Cluster, server: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    images = image_folder(tmp_path_factory.mktemp("data") / "images", each=20)
    url = server_database(server, "team")
    searches = [Search(cluster, images, "--study", name, "--storage", url) for name in STUDIES]
    agents = set()
    while any(search.runs for search in searches):
        agents |= {len(node.agents) for node in cluster.nodes}
        time.sleep(0.5)
    assert agents <= {0, 1}  # a node trains for one search at a time
    for search in searches:
        search.end()
    alone = on_one_machine(tmp_path / "single", images)
    for name in STUDIES:
        assert curves(cluster.head.folder, name, url) == alone
    assert shown_studies(tmp_path, url) == set(STUDIES)


def shown_studies(folder: Path, url: str) -> set[str]:
    """Names of the studies that a dashboard of a database shows."""
    with subprocess.Popen(
        [TREINO, "dashboard", "--storage", url, "--port", "0"],
        cwd=folder,
        env=home_of(folder),
        stdout=subprocess.PIPE,
        text=True,
    ) as dashboard:
        assert dashboard.stdout is not None
        try:
            origin = next(filter(None, map(ORIGIN.search, dashboard.stdout)))
            with closing(http.client.HTTPConnection(origin[1], timeout=60)) as connection:
                connection.request("GET", "/api/studies")
                found = json.load(connection.getresponse())
            return {study["study_name"] for study in found["study_summaries"]}
        finally:
            dashboard.kill()
