"""Files of ended trials: stored by another process, none lost with it or with a tuner."""

import os
import signal
from pathlib import Path

import pytest
from optuna.artifacts import get_all_artifact_meta

from search import processes
from search.study.attachments import AttachingAside, Attachments
from storage.errors import StorageError
from storage.files import Layout
from tests.support.laboratory import Lab, bowl, figures


def attachments(layout: Layout, number: int, *, model: bytes = b"") -> Attachments:
    """Those of a trial of two epochs."""
    files = layout.run("shown", f"trial-{number:05d}")
    files.spec.parent.mkdir(parents=True)
    files.spec.write_text("{}")
    if model:
        files.model.write_bytes(model)
    history = (figures(1, 2.0), figures(2, 1.0))
    title = f"trial {number}"
    return Attachments.of(
        files, layout.artifacts, title, "complete", history, "val_loss", with_model=bool(model)
    )


def test_the_end_waits_until_another_process_has_stored_all(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first, second = attachments(layout, 0, model=b"weights"), attachments(layout, 1)
    with AttachingAside(lambda: False) as attach:
        attach(first)
        attach(second)
    for each in (first, second):
        stored = {path.name: each.folder / name for path, name in each.copies.items()}
        assert stored["curves.png"].read_bytes().startswith(b"\x89PNG")
        assert stored["spec.json"].read_text() == "{}"
        assert not each.files.model.exists()
    assert (first.folder / first.copies[first.files.model]).read_bytes() == b"weights"


def test_a_killed_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def start(*arguments: object, **options: object) -> object:
        process = original(*arguments, **options)  # type: ignore[arg-type]
        started.append(process)
        if len(started) == 1:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        return process

    original = processes.start
    monkeypatch.setattr(processes, "start", start)
    one = attachments(Layout(tmp_path), 0)
    with AttachingAside(lambda: False) as attach:
        attach(one)
    assert len(started) == 2
    assert all((one.folder / name).is_file() for name in one.copies.values())


def test_what_cannot_be_stored_stops_the_search(tmp_path: Path) -> None:
    one = attachments(Layout(tmp_path), 0)
    one.folder.write_text("a file in its place")
    with (
        pytest.raises(StorageError, match="cannot store artifacts"),
        AttachingAside(lambda: False) as attach,
    ):
        attach(one)


def test_an_interruption_leaves_the_rest_to_the_next_search(tmp_path: Path) -> None:
    one = attachments(Layout(tmp_path), 0)
    with AttachingAside(lambda: True) as attach:
        attach(one)
    assert one.files.spec.exists()


def test_a_search_stores_what_a_killed_one_registered(lab: Lab) -> None:
    lab.search(bowl, trials=2, sampler="random")
    ids = {
        meta.artifact_id: meta.filename
        for trial in lab.trials
        for meta in get_all_artifact_meta(trial, storage=lab.study._storage)
    }
    folder = Layout(lab.var).artifacts
    assert {path.name for path in folder.iterdir()} == ids.keys()
    for name in ids:
        (folder / name).unlink()
    lab.search(bowl, trials=2, sampler="random")
    stored = {ids[path.name] for path in folder.iterdir()}
    assert stored == {"spec.json", "curves.png"}
