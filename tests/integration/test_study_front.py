"""What is said and shown of a study of two objectives, and that it stays one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search.errors import TreinoError
from search.reports import charts, dashboard_notes, leaderboard, listings
from search.reports.contents import Charts, report_of
from search.reports.html import render
from search.settings import Settings
from search.study.snapshot import Snapshot, look
from search.study.study_front import front_of
from search.study.trials import best_trial, lowest
from search.study.workspace import Workspace
from storage.study import summaries
from tests.support.dashboards import Made, browser, serving
from tests.support.studies import COMPLETE, FAIL, PRUNED, RUNNING, add, begin

TWO = ("val_loss", "parameters")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("two objectives")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Workspace.open(Settings(), write=True) as place:
            study, space = begin(place, "two", objectives=TWO)
            add(place, study, space, [*[COMPLETE, PRUNED] * 5, FAIL, RUNNING])
            yield place


@pytest.fixture(scope="module")
def snapshot(place: Workspace) -> Snapshot:
    return look(place, place.study("two"), searching=False)


def test_the_front_has_trials_of_any_state_but_failed_ones(place: Workspace) -> None:
    study = place.study("two")
    front = front_of(study)
    assert front is not None
    assert front.sizes.keys() == {*range(10), 11}
    losses = {n: lowest(study.get_trials()[n]) for n in front.sizes}
    on = [trial.number for trial in front.trials]
    for number, size in front.sizes.items():
        beaten = any(
            losses[n] <= losses[number] and front.sizes[n] <= size and n != number for n in on
        )
        assert beaten != (number in on)
    assert [t.size for t in front.trials] == sorted(t.size for t in front.trials)
    assert sum(t.is_knee for t in front.trials) <= 1


def test_the_note_and_the_leaderboard_have_it(place: Workspace) -> None:
    study = place.study("two")
    front = front_of(study)
    assert front is not None
    note = dashboard_notes.note_text(study)
    assert note is not None
    assert f"**Front**, smallest first: trial {front.trials[0].number}, val_loss " in note
    names = [row.name for row in leaderboard.rows(study, place.records, place.layout)]
    on = [t.number for t in front.trials]
    for number in on:
        (name,) = [n for n in names if n.startswith((f"trial {number},", f"trial {number} "))]
        assert name.endswith(f", {front.mark(number)}")
    assert sum(name.endswith((", front", ", knee")) for name in names) == len(on)


def test_a_trial_that_has_not_ended_is_on_the_leaderboard_with_its_best_epoch(
    place: Workspace,
) -> None:
    study = place.study("two")
    rows = leaderboard.rows(study, place.records, place.layout)
    (row,) = [row for row in rows if row.name.startswith("trial 11, unfinished")]
    epochs = place.records.epochs("two", "trial-00011")
    best = min(epochs, key=lambda epoch: epoch.val_loss)
    assert (row.val_loss, row.val_accuracy) == (best.val_loss, best.val_accuracy)
    assert row.epochs == len(epochs)


def test_the_report_shows_it(snapshot: Snapshot) -> None:
    assert snapshot.front is not None
    assert snapshot.best is not None
    assert snapshot.front.trials[-1].number == snapshot.best.number
    chart = charts.front(snapshot)
    assert chart is not None
    assert sum(map(len, chart.tips.values())) == len(snapshot.front.sizes)
    page = render("report.html", report=report_of(snapshot, [], Charts([], [], [], [], [])))
    section = page.partition('<section id="front">')[2].partition("</section>")[0]
    for trial in snapshot.front.trials:
        assert f"{trial.size:,}" in section
    assert section.count(">knee<") == (snapshot.front.knee is not None)
    assert "--objectives val_loss,parameters" in page
    if snapshot.front.knee is not None:
        assert f"--where &#39;parameters &lt;= {snapshot.front.knee.size}&#39;" in page


def test_the_list_of_studies_has_its_lowest_loss(place: Workspace) -> None:
    (row,) = summaries(place.storage, best_values=True)
    columns = listings.table_of_studies([row]).columns
    (told,), (best,) = columns[1].cells, columns[2].cells
    assert "1 unfinished" in str(told)
    best_of_all = best_trial(place.study("two"))
    assert best_of_all is not None
    value = lowest(best_of_all)
    assert str(best) == f"val_loss {value:.4f}"
    assert listings.studies_as_json([row])[0]["best_value"] == value


@pytest.mark.parametrize("objectives", [(), ("val_loss", "operations")])
def test_it_is_not_resumed_with_other_objectives(
    place: Workspace, objectives: tuple[str, ...]
) -> None:
    with pytest.raises(TreinoError, match="made with objectives val_loss,parameters, not val_loss"):
        begin(place, "two", objectives=objectives)


def test_a_creation_that_was_interrupted_does_not_fix_the_objectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        optuna.create_study(storage=place.storage, study_name="cut off", direction="minimize")
        study, _ = begin(place, "cut off", objectives=TWO)
        assert len(study.directions) == 2


@pytest.mark.slow("starts a browser and a dashboard")
def test_a_browser_shows_the_front_in_the_dashboard(place: Workspace, tmp_path: Path) -> None:
    study = place.study("two")
    complete = study.get_trials(states=(COMPLETE,))
    made = Made(Path("var/treino.db").resolve(), place.layout.artifacts)
    with serving(made, writable=False) as (_, origin), browser(tmp_path) as chrome:
        from selenium.webdriver.support.ui import WebDriverWait

        chrome.get(f"{origin}/dashboard/studies/{study._study_id}")
        drawn = WebDriverWait(chrome, 60, 0.1).until(
            lambda _: chrome.execute_script(
                "const plot = document.getElementById('graph-pareto-front');"
                "return plot?.querySelector('.scatterlayer .trace') && plot.data?.length && {"
                "  points: plot.data.flatMap(of => Array.from(of.x, (x, n) => [x, of.y[n]])),"
                "  axes: Array.from("
                "    plot.closest(':has([role=combobox])').querySelectorAll('[role=combobox]'),"
                "    choice => choice.innerText)}"
            )
        )
        assert drawn["axes"] == ["val_loss", "parameters"]
        points = sorted((x, y) for x, y in drawn["points"] if x is not None)
        assert points == sorted(tuple(trial.values) for trial in complete)
        errors = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == []


def test_epochs_that_are_still_to_come_are_not_saved(snapshot: Snapshot) -> None:
    ended = [*snapshot.of_state("complete"), *snapshot.of_state("pruned")]
    share = 1 - sum(len(trial.history) for trial in ended) / (10 * snapshot.epochs)
    shown = charts.spent(snapshot)
    assert shown is not None
    in_full = f"The 10 complete or pruned trials in full would have taken {10 * snapshot.epochs}: "
    assert f"{in_full}{share:.0%} saved." in shown.caption
    begun = charts.spent(replace(snapshot, trials=tuple(snapshot.of_state("paused"))))
    assert begun is not None
    assert begun.caption.endswith("epochs: 100% paused.")
