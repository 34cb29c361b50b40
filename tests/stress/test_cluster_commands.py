"""Every command that trains gives on a cluster what it gives on a single machine."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import optuna
import pytest

from storage.engine import database_url, open_storage
from storage.tables import Records
from tests.support.clusters import (
    SEARCH,
    Cluster,
    cluster_of,
    on_one_machine,
    one_core,
    run_treino,
)
from tests.support.pictures import image_folder

ONE_EACH = ("--study", "s", "--workers", "1")  # on each node
COMMANDS = {
    "retrain": ("retrain-best", *ONE_EACH, "--top", "3", "--seeds", "2", "--epochs", "2"),
    "ensemble": ("retrain-best", *ONE_EACH, "--ensemble", "--seeds", "2", "--epochs", "3"),
    "folds": ("retrain-best", *ONE_EACH, "--top", "2", "--folds", "2", "--epochs", "2"),
    "claims": ("claims", "batch", *ONE_EACH, "--settle", "--budget-epochs", "12"),
    "record": ("record", "--image-size", "8", "--configurations", "3", "--epochs", "2"),
    "baseline": ("baseline", "run-4", "--image-size", "8", "--epochs", "2"),
}
OF_IMAGES = ("record", "baseline")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("data") / "images", each=20)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The folder of a search of three trials on a single machine."""
    folder = tmp_path_factory.mktemp("single")
    on_one_machine(folder, images, "--trials", "3")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and two nodes of one processor."""
    with cluster_of(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_trains_on_a_cluster_what_it_trains_on_one_machine(
    cluster: Cluster, single: Path, images: Path, tmp_path: Path, name: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        shutil.copytree(single, folder)
    before = trained(here)
    command = (*COMMANDS[name], *(("--data", str(images)) if name in OF_IMAGES else ()))
    with one_core():
        run_treino(here, *command)
    run_treino(there, *command, "--cluster", cluster.address)
    alone, together = trained(here), trained(there)
    if name == "claims":  # two workers train pairs of two kinds at once, within one budget
        common = alone.keys() & together.keys()
        alone, together = ({run: of[run] for run in common} for of in (alone, together))
    assert len(alone) > len(before)
    assert together == alone
    assert delivered(there) == delivered(here)


@pytest.mark.timeout(1500)
def test_an_audit_on_a_cluster_ends_trials_as_if_they_had_not_been_pruned(
    cluster: Cluster, images: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    trials = ("--trials", "4", "--epochs", "9")
    on_one_machine(here, images, *trials)
    command = (*SEARCH, "--data", str(images), *trials, "--pruner", "promote", "--audit", "2")
    said = run_treino(there, *command, "--cluster", cluster.address)
    assert "of 2 pruned trials would have been better" in said
    whole, audited = trained(here), trained(there)
    runs = [run for _, run in audited if run.startswith("audit-")]
    assert len(runs) == 2
    for run in runs:
        name = run.replace("audit", "trial")
        assert audited["s", run] == whole["s", name]
        assert len(audited["s", name]) < len(whole["s", name])


def delivered(folder: Path) -> set[Path]:
    """Names of the files of delivered models and baselines."""
    var = folder / "var"
    places = [var / "s/best", var / "baselines/runs"]
    return {path.relative_to(var) for place in places for path in place.rglob("*")}


def trained(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Epochs and results of every training, by study and run; without times."""
    storage = open_storage(database_url(str(folder / "var/treino.db")), write=False)
    never = datetime(1, 1, 1, tzinfo=timezone.utc)
    try:
        records = Records(storage.engine)
        models = records.models()
        studies = {*optuna.get_all_study_names(storage), *(row.study for row in models)}
        found = {
            (study, run): [repr(replace(epoch, seconds=0.0)) for epoch in epochs]
            for study in studies
            for run, epochs in records.epochs_of_study(study).items()
        }
        for row in models:
            results = repr(replace(row, seconds=0.0, created=never))
            found.setdefault((row.study, row.run), []).append(results)
        return found
    finally:
        storage.engine.dispose()
