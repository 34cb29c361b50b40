"""What a study carries for optuna-dashboard, and how the dashboard shows it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.figures.plots import draw_curves
from search.reports import dashboard_notes
from search.settings import Settings
from search.study.snapshot import look
from search.study.workspace import Workspace
from tests.support import studies
from tests.support.dashboards import Made, browser, requested, serving
from tests.support.studies import COMPLETE, FAIL, PRUNED


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        yield place


def test_the_study_carries_note_and_figures_for_the_dashboard(place: Workspace) -> None:
    from optuna_dashboard import get_note

    study, space = studies.begin(place, "noted")
    dashboard_notes.note(study)
    assert "none yet" in get_note(study)
    studies.add(place, study, space, [COMPLETE] * 2 + [PRUNED] * 3)
    dashboard_notes.finish(place, study)
    best = look(place, study).best
    assert best is not None
    assert f"trial {best.number}" in get_note(study)
    assert "5 trials (2 complete, 3 pruned)" in get_note(study)
    assert "treino search --data cifar10 --study noted" in get_note(study)
    before = study._storage.get_study_system_attrs(study._study_id)
    kept = {key: value for key, value in before.items() if "plot_data" in key}
    assert {key.split(":")[2] for key in kept} == {"overfitting", "epochs-spent"}
    assert "pruned by median" in "".join(kept.values())
    assert sum(map(len, kept.values())) < 10_000
    dashboard_notes.note(study)  # nothing changed: nothing is written
    assert study._storage.get_study_system_attrs(study._study_id) == before


def test_what_is_handed_over_is_among_the_artifacts_once(place: Workspace) -> None:
    from optuna.artifacts import get_all_artifact_meta

    study, space = studies.begin(place, "made")
    studies.add(place, study, space, [COMPLETE])
    studies.hand_over(place, study, space)
    files = place.layout.best("made")
    for content in (b"first", b"second"):
        files.model.write_bytes(content)
        dashboard_notes.attach_best(study, place.layout)
        found = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}
        assert found.keys() == {"model.keras", "mistakes.png"}
        assert (place.layout.artifacts / found["model.keras"]).read_bytes() == content
    assert len(list(place.layout.artifacts.iterdir())) == 2


THEIRS = {"Drag your file here or click to browse."}  # the dashboard's own faint words

# The texts that do not stand out from what lies behind them (WCAG 2.2, success criterion 1.4.3),
# and how light that is at the bottom of it all, 0 to 1.
LOOK = """
const channels = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = element => {
  for (; element; element = element.parentElement) {
    const found = channels(getComputedStyle(element).backgroundColor);
    if (found.length < 4 || found[3] > 0.5) return found;
  }
  return [255, 255, 255];
};
const faint = [];
for (const element of document.querySelectorAll('p, code, strong, td, th, h1, h2, h5, h6')) {
  if (!element.innerText?.trim() || !element.getClientRects().length) continue;
  const text = channels(getComputedStyle(element).color);
  const [a, b] = [light(behind(element)), light(text)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(element.innerText);
}
return {faint, background: light(behind(document.body))};
"""


@pytest.mark.slow("starts a browser and a dashboard")
def test_the_dashboard_shows_it_all_at_any_width_in_both_themes(
    place: Workspace, tmp_path: Path
) -> None:
    study, space = studies.begin(place, "shown")
    studies.add(place, study, space, [COMPLETE] * 4 + [PRUNED] * 6 + [FAIL])
    studies.hand_over(place, study, space)
    place.layout.best("shown").model.write_bytes(b"a model")
    curves = studies.curve(0, 20, study.trials[0].params)
    draw_curves(curves, place.layout.best("shown").curves, "trial 0")
    dashboard_notes.finish(place, study)
    made = Made(Path("var/treino.db").resolve(), place.layout.artifacts.resolve())
    with serving(made, writable=False) as (_, origin), browser(tmp_path) as chrome:
        from selenium.webdriver.support.ui import WebDriverWait

        def until(script: str) -> object:
            return WebDriverWait(chrome, 30, 0.1).until(lambda _: chrome.execute_script(script))

        # What is to be seen on each page, once it is all there.
        pages = {
            "": (
                "return ['overfitting', 'epochs-spent'].every(name => document.getElementById("
                "  'user-defined-plot:' + name)?.querySelector('.trace, .point'))"
                " && document.querySelector('img[src^=\"/artifacts/\"]')?.naturalWidth"
                " && ['model.keras', 'mistakes.png'].every(name => document.body.innerText"
                "  .includes(name))"
            ),
            "/note": "return document.body.innerText.includes('Best so far: trial 0')",
        }
        screens = ((390, 844), (1400, 1000))
        for page, theme in ((page, theme) for page in pages for theme in ("light", "dark")):
            media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            chrome.get(f"{origin}/dashboard/studies/1{page}")
            for width, height in screens:  # a window is widened: what a page loads is the same
                screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                until(f"return innerWidth === {width}")
                until(pages[page])
                seen = chrome.execute_script(LOOK)
                assert set(seen["faint"]) <= THEIRS
                dark = seen["background"] < 0.2
                assert dark == (theme == "dark")
                if folder := os.environ.get("SCREENSHOTS"):
                    name = f"dashboard-{page.strip('/') or 'study'}-{width}-{theme}.png"
                    chrome.save_screenshot(str(Path(folder) / name))
        assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
        assert {url for url in requested(chrome) if not url.startswith(origin)} == set()
