"""The report of a study: what it says of any study, and how it looks in a real browser."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from models.evaluation import most_confident_mistakes
from search.claims.catalog import CLAIMS
from search.cli.app import main
from search.reports import report
from search.reports.advice import advice
from search.settings import Settings
from search.study.evaluation_record import EvaluationRecord
from search.study.snapshot import look
from search.study.workspace import Workspace
from storage.lease import StudyLease
from tests.support import studies
from tests.support.dashboards import browser, requested
from tests.support.studies import COMPLETE, FAIL, PRUNED, RUNNING

ROOT = Path(__file__).parents[2]
MARKUP = "<script>alert(1)</script>"
NASTY = f"açúcar & {MARKUP.replace('/', '-')} $x_{{"


FEW = ("learning_rate", "dropout_dense")  # a picture for each: enough where they do not matter


@contextmanager
def opened(folder: Path) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Workspace.open(Settings(), write=True) as place:
            yield place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workspace]:
    with opened(tmp_path) as place:
        yield place


# A report costs seconds, nearly all for its pictures: these two are written once, and several
# tests read them.


@dataclass(frozen=True)
class Full:
    path: Path
    test_accuracy: float


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    """The report of a study that has it all, under a name to stumble over."""
    with opened(tmp_path_factory.mktemp("full")) as place:
        study, space = studies.begin(place, NASTY)
        studies.add(place, study, space, [COMPLETE] * 8 + [PRUNED] * 15 + [RUNNING] * 2 + [FAIL])
        row = studies.hand_over(place, study, space)
        studies.baseline(place)
        studies.settle(place, study, pairs=6)
        return Full(report.write(place, study).resolve(), row.test_accuracy)


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a search on images of which the documents know nothing, named to be run."""
    with opened(tmp_path_factory.mktemp("strange")) as place:
        data = studies.dataset((MARKUP, "$x_{", "&amp;"), MARKUP)
        study, space = studies.begin(place, NASTY, data)
        studies.add(place, study, space, [COMPLETE, PRUNED, FAIL], MARKUP, params=FEW)
        studies.hand_over(place, study, space, data)
        return report.write(place, study).resolve()


class Text(HTMLParser):
    """The words of a page, without markup, scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            self._inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.words += data.split()


def words(path: Path) -> str:
    parser = Text()
    parser.feed(path.read_text(encoding="utf-8"))
    return " ".join(parser.words)


def figures(path: Path) -> set[str]:
    return set(re.findall(r'<figure id="([^"]+)"', path.read_text(encoding="utf-8")))


def test_an_empty_study_says_so(place: Workspace) -> None:
    study, _ = studies.begin(place, "empty")
    path = report.write(place, study)
    said = words(path)
    assert path == Path("var/empty/report/report.html")
    assert "0 trials; 0 epochs" in said
    assert "No trial has started yet" in said
    assert "treino search --data cifar10 --study empty" in said
    assert figures(path) == set()


def test_a_study_of_failures_gives_their_reasons(place: Workspace) -> None:
    study, space = studies.begin(place, "failed")
    studies.add(place, study, space, [FAIL] * 3, "its worker process died: SIGSEGV")
    path = report.write(place, study)
    said = words(path)
    assert "3 trials: 3 failed" in said
    assert "Every trial failed" in said
    assert said.count("its worker process died: SIGSEGV") == 3
    assert figures(path) == set()


def test_a_running_study_says_that_it_is_and_when_it_was_looked_at(place: Workspace) -> None:
    study, space = studies.begin(place, "running")
    studies.add(place, study, space, [COMPLETE, PRUNED, RUNNING, RUNNING], params=FEW)
    said = words(report.write(place, study))
    assert "2 paused" in said
    assert "no search is running" in said
    assert "Claims of the documents" not in said  # nothing tells of the claims
    assert "No trial is retrained in full and tested" in said
    with StudyLease(place.storage.engine, "running"):
        said = words(report.write(place, study))
    assert "a search is running" in said
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d", said)
    # After 5 epochs of 20 a trial trains; after 7, which is a rung, it waits.
    assert "1 running" in said
    assert "1 paused" in said


@pytest.mark.slow("draws the thirty figures of a report, once for all tests that read it")
def test_a_full_study_has_it_all(full: Full) -> None:
    path = full.path
    said = words(path)
    for figure in (f"{full.test_accuracy:.4f}", "0.8439", "0.7998", "8 complete", "15 pruned"):
        assert figure in said
    assert f"treino retrain-best --study {shlex.quote(NASTY)} --epochs 100" in said
    assert re.search(
        r"accuracy on the test images is 0\.\d+ \(95 % interval 0\.\d+ to 0\.\d+, \d,\d+ images\)",
        said,
    )
    assert re.search(r"922,314 parameters, 30 epochs; 95 % interval 0\.\d+ to 0\.\d+", said)
    assert "f1a9e7" in said
    assert "class test images precision recall F1" in said
    assert "pruned by median after epoch" in said
    shown = figures(path)
    assert shown >= {
        *("best-over-epochs", "best-over-time", "curves", "epochs-spent", "overfitting"),
        *("importances", "retrained-loss", "retrained-accuracy", "confusion"),
        *("accuracy-by-class", "mistakes", "slice-10-learning_rate"),
    }
    for name in shown:
        ElementTree.parse(path.with_name(f"{name}.svg"))  # noqa: S314 - our own
        with Image.open(path.with_name(f"{name}.png")) as picture:
            assert picture.format == "PNG"
    curves = path.with_name("curves.svg").read_text(encoding="utf-8")
    assert curves.count("pruned by median after epoch") == 15


@pytest.mark.slow("draws a report's figures, once for all tests that read it")
def test_other_images_than_the_documents_are_called_so(strange: Path) -> None:
    said = words(strange)
    assert f"The images are {MARKUP}, not CIFAR-10" in said
    assert "0.8439" not in said
    assert "run 10 is not trained on these images yet" in said


def test_names_and_reasons_are_no_markup(strange: Path) -> None:
    page = strange.read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    assert MARKUP in words(strange)
    assert words(strange).count(MARKUP) > 2  # the images, a class, the reasons
    assert NASTY in words(strange)


def test_advice_rests_on_the_study(place: Workspace) -> None:
    study, space = studies.begin(place, "a b")
    studies.add(place, study, space, [COMPLETE] * 12)
    said = {piece.text: piece.command for piece in advice(look(place, study))}
    assert "treino retrain-best --study 'a b'" in said.values()
    assert "treino baseline run-10 --data cifar10" in said.values()
    studies.hand_over(place, study, space)
    said = {piece.text: piece.command for piece in advice(look(place, study))}
    assert any(text.startswith("The delivered model is from trial 0") for text in said)
    assert look(place, study).retrained_file == "var/a b/best/model.keras"


def test_the_baseline_with_the_most_epochs_stands_beside_the_model(place: Workspace) -> None:
    study, _ = studies.begin(place, "s")
    studies.baseline(place)
    assert look(place, study).baseline_epochs is None
    whole = look(place, study).baseline
    studies.baseline(place, epochs=5)  # later, and shorter
    assert look(place, study).baseline == whole


def test_the_page_goes_where_it_is_told(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.begin(place, "empty")
    kept = Path("else where/mine.png")
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(SystemExit) as left:
        main(["report", "--study", "empty", "--out", "else where"])
    assert left.value.code == 0
    said = capsys.readouterr()
    assert "report: else where/report.html" in said.out
    assert not said.err
    assert Path("else where/report.html").is_file()
    assert kept.exists(), "another's files are not those of an earlier report"
    assert not Path("var/empty/report").exists()


def test_the_most_confident_mistakes_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    found = most_confident_mistakes(probabilities, np.array([1, 1, 1, 0], np.int32), most=2)
    assert [(m.image, m.truth, m.predicted) for m in found] == [(0, 1, 0), (3, 0, 1)]
    assert found[0].probability == pytest.approx(0.9)
    assert most_confident_mistakes(probabilities, np.array([0, 1, 0, 1], np.int32)) == ()


def test_a_class_that_was_never_predicted_counts_nothing_in_the_means() -> None:
    record = EvaluationRecord(
        loss=1.0,
        accuracy=7 / 12,
        classes=("a", "b", "c"),
        confusion=((5, 0, 0), (3, 2, 0), (1, 1, 0)),
        mistakes=(),
    )
    *_, rare, means = record.class_rows()
    assert rare == ("c", "2", "", "0.0000", "0.0000")
    assert means == ("mean", "12", f"{(5 / 9 + 2 / 3) / 3:.4f}", "0.4667", "0.4048")


def test_the_command_writes_it_and_says_where(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    study, space = studies.begin(place, "named")
    studies.add(place, study, space, [COMPLETE, PRUNED], params=FEW)
    folder = Path("var/named/report")
    folder.mkdir(parents=True)
    (folder / "slice-99-gone.png").touch()
    with pytest.raises(SystemExit) as left:
        main(["report", "--study", "named"])
    assert left.value.code == 0
    assert "report: var/named/report/report.html" in capsys.readouterr().out
    assert len(figures(folder / "report.html")) == len(list(folder.glob("*.png"))) > 2
    assert not (folder / "slice-99-gone.png").exists(), "figures of an earlier report go"
    with pytest.raises(SystemExit) as left:
        main(["report", "--study", "absent"])
    assert left.value.code == 1
    assert "no study 'absent'" in capsys.readouterr().err


def test_the_claims_are_there_once_anything_tells_of_them(full: Full) -> None:
    said = words(full.path)
    assert "Claims of the documents" in said
    assert "The larger the batch, the more the network stagnates. Supported." in said
    assert said.count("Measured: ") == len(CLAIMS)
    assert {f"claim-{claim.name}" for claim in CLAIMS} <= figures(full.path)


# The page fetches nothing, says nothing to the console, and can be read: every text has a contrast
# of 4.5 with the page (WCAG 2.2, success criterion 1.4.3) and, in a chart, 6 pixels or more.
LOOK = """
const lines = [];
const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
const light = colour => {
  const [r, g, b] = channels(colour).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const page = light(getComputedStyle(document.body).backgroundColor);
const contrast = colour => {
  const [a, b] = [page, light(colour)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
for (const text of document.querySelectorAll('p, td, th, h1, h2, figcaption, .tile span')) {
  const found = contrast(getComputedStyle(text).color);
  if (found < 4.5) lines.push('contrast ' + found + ': ' + text.textContent);
}
for (const text of document.querySelectorAll('.chart text')) {
  const height = text.getBoundingClientRect();
  if (Math.max(height.width, height.height) < 1) continue;
  const size = Math.min(height.width, height.height);
  if (size < 6 && text.textContent.length > 2) lines.push('size ' + size + ': ' + text.textContent);
  const fill = getComputedStyle(text).fill;
  if (!text.closest('#confusion') && contrast(fill) < 4.5)
    lines.push('contrast ' + contrast(fill) + ': ' + text.textContent);
}
const charts = [...document.querySelectorAll('.chart')];
for (const chart of charts) {
  const box = chart.getBoundingClientRect();
  if (box.width < 100 || box.height < 80) lines.push('small: ' + chart.getAttribute('aria-label'));
  if (!chart.querySelector('path, use, image')) lines.push('empty');
}
return {
  lines, charts: charts.length, width: document.documentElement.scrollWidth,
  background: getComputedStyle(document.body).backgroundColor,
};
"""


@pytest.mark.slow("starts a browser")
def test_browser_shows_it_at_any_width_in_both_themes(full: Full, tmp_path: Path) -> None:
    path = full.path
    with browser(tmp_path) as chrome:
        backgrounds = set()
        for width, height in ((390, 844), (1280, 900)):
            for theme in ("light", "dark"):
                screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
                chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
                chrome.get(path.as_uri())
                seen = chrome.execute_script(LOOK)
                assert seen["lines"] == []
                assert seen["charts"] == len(figures(path))
                assert seen["width"] <= width
                backgrounds.add((theme, seen["background"]))
                if folder := os.environ.get("SCREENSHOTS"):
                    chrome.save_screenshot(str(Path(folder) / f"report-{width}-{theme}.png"))
        assert len(backgrounds) == 2  # one a theme

        chrome.execute_script("document.getElementById('theme').click()")
        assert chrome.execute_script(LOOK)["background"] == dict(backgrounds)["light"]

        tip = chrome.execute_script(
            "const line = document.querySelector('#curves [data-tip*=pruned]');"
            "line.dispatchEvent(new PointerEvent('pointermove', {bubbles: true}));"
            "return document.getElementById('tip').innerText"
        )
        assert "pruned by median after epoch" in tip

        assert chrome.get_log("browser") == []
        assert requested(chrome) == {path.as_uri()}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_report_names_the_command() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "report", "STUDY=a b"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "treino report --study 'a b'" in done.stdout
