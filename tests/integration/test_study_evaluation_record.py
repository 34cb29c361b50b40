"""What is said of a model's test: its interval, and the documents' figures where they belong."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from models.documented import DOCUMENTED, are_of_cifar10
from search.intervals import Spread, of_share, told_if_wide, told_share
from search.reports import leaderboard
from search.retraining import comparison
from search.retraining.card import card
from search.settings import Settings
from search.study.evaluation_record import read
from search.study.evaluation_record import test_images as images_of
from search.study.workspace import Workspace
from search.tuning import messages
from storage.files import RunFiles
from storage.tables import ModelRow
from tests.support import studies
from tests.support.studies import COMPLETE

OTHERS = ("dark", "a|b <script>", "[x](y)")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as place:
        yield place


@given(st.integers(1, 10_000), st.data())
def test_the_interval_of_a_share_is_the_exact_binomial_one(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert of_share(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_interval_in_words() -> None:
    assert told_share(0.8439, 10_000) == ("0.8439 (95 % interval 0.8366 to 0.8510, 10,000 images)")
    assert told_share(1.0, 1) == "1.0000 (95 % interval 0.0250 to 1.0000, 1 image)"
    assert told_share(0.8439, None) == "0.8439"


@settings(max_examples=30)
@given(st.integers(1, 2000), st.data())
def test_few_images_are_told_where_the_interval_is_wide(n: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, n)) / n
    low, high = of_share(share, n)
    assert bool(told_if_wide(share, n)) == (high - low > 0.05)


def test_a_search_on_few_images_says_how_uncertain_it_is() -> None:
    assert messages.few_images(180) == (
        "few validation images: of 180 images, an accuracy of 0.90 has the 95 % interval 0.85 to "
        "0.94: smaller differences may be chance; retrain-best --folds 5 uses more"
    )
    assert messages.few_images(5000) == ""


def test_the_card_has_the_figures_of_each_class(place: Workspace) -> None:
    study, space = studies.begin(place, "full")
    studies.add(place, study, space, [COMPLETE])
    row = studies.hand_over(place, study, space)
    files = place.layout.best("full")
    page = card(report_of(row), [], studies.dataset(), files, model=row, cifar10=True)
    tested = read(files, row.test_accuracy)
    assert tested is not None
    confusion = np.array(tested.confusion)
    first = confusion[0, 0] / confusion[:, 0].sum(), confusion[0, 0] / confusion[0].sum()
    name, images = tested.classes[0], confusion[0].sum()
    assert f"| {name} | {images} | {first[0]:.4f} | {first[1]:.4f} | " in page
    assert f"| mean | {confusion.sum():,} | " in page
    other = replace(row, test_accuracy=0.1)  # the stored results are of another model
    assert "| precision |" not in card(
        report_of(other), [], studies.dataset(), files, model=other, cifar10=True
    )


def test_the_leaderboard_has_intervals_where_the_test_was_kept(place: Workspace) -> None:
    study, space = studies.begin(place, "full")
    studies.add(place, study, space, [COMPLETE])
    row = studies.hand_over(place, study, space)
    studies.baseline(place)  # an earlier one: nothing of its test lies beside it
    found = {r.kind: r for r in leaderboard.rows(study, place.records, place.layout)}
    images = images_of(place.layout, row)
    assert images is not None
    assert found["retrain"].test_images == images
    assert found["retrain"].test_interval == of_share(row.test_accuracy, images)
    for kind in ("baseline", "trial", "documents"):
        assert found[kind].test_interval is None
    rows = {
        r["kind"]: r for r in csv.DictReader(io.StringIO(leaderboard.to_csv(list(found.values()))))
    }
    assert tuple(rows["trial"]) == leaderboard.CSV_COLUMNS
    assert float(rows["retrain"]["test_accuracy"]) == row.test_accuracy
    assert float(rows["retrain"]["test_interval_low"]) == of_share(row.test_accuracy, images)[0]
    assert rows["trial"]["test_accuracy"] == rows["documents"]["seconds"] == ""
    place.layout.best("full").tested.write_text("{}", encoding="utf-8")
    assert images_of(place.layout, row) is None


def report_of(row: ModelRow) -> comparison.Report:
    one = Spread(0.5, None)
    only = comparison.Retrained(0, 1, 0.5, 3, 1, 1, 0, *[one] * 4)
    return comparison.Report((only,), 0, 0, None, None, (), row)


@pytest.mark.parametrize("classes", [studies.CIFAR, OTHERS])
def test_the_documents_figures_stand_beside_cifar10_alone(classes: tuple[str, ...]) -> None:
    data = studies.dataset(classes, "pictures | `of` <b>")
    cifar10 = are_of_cifar10(data.classes)
    assert cifar10 == (classes == studies.CIFAR)
    row = studies.model_row("s_1", "run", "retrain", "trial 0 retrained", 0.75, data)
    files = RunFiles(Path("var"), Path("var/s/best"))
    page = card(report_of(row), [], data, files, model=row, cifar10=cifar10)
    line = messages.handed_over(row, 40, files.folder, cifar10=cifar10)
    run = DOCUMENTED["run-10"]
    base = messages.of_baseline(run, row, 40, files.folder, cifar10=cifar10)
    interval = r"0\.7500 \(95 % interval 0\.5880 to 0\.8731, 40 images\)"
    for text in (page, line, base):
        assert ("0.8439" in text) == cifar10
        assert re.search(interval, text)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    # No name adds a column or is a tag.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3}
    assert not re.search(r"(?<!\\)<", page)
