"""The page of a study report: outside text never becomes markup, and arrives as it is written."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution

from search.console.terminal import printable
from search.figures.svg import Chart
from search.reports.contents import Charts, report_of
from search.reports.html import render
from search.study.recipe import ImagesRecord
from search.study.snapshot import Snapshot, TrialView
from storage.tables import EpochRow
from tests.support.model_rows import ROW
from tests.support.recipes import opening, recipe

FIELDS = (
    "study",
    "class",
    "reason",
    "decision",
    "parameter",
    "value",
    "title",
    "path",
    "images",
    "version",
    "caption",
    "source",
)
NASTY = (
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onclick='alert(1)",
    "&lt;b&gt; &amp;amp; &#60;b>",
    "]]> <!-- --> <![CDATA[",
    "</pre></td></code></style></script>",
    "{{ report }} {% raw %} {# #}",
    "\x00\x1b[31m\x7f\x85",
    "\udcff\ud800",
    "\u202eabc\u2066\u2028",
    "two\nlines\r\nand\ttabs",
    "açúcar 日本 👩‍🔬",
)


class Parsed(HTMLParser):
    """A page's elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.markup: list[object] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.markup.append((tag, *attrs))

    def handle_endtag(self, tag: str) -> None:
        self.markup.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.markup.append(f"comment {data}")

    def unknown_decl(self, data: str) -> None:
        self.markup.append(f"declaration {data}")

    def handle_pi(self, data: str) -> None:
        self.markup.append(f"instruction {data}")


def marked(field: str, text: str) -> str:
    """The text between two words, by which it is found in the page."""
    return f"{field}({text})"


def page(text: str) -> Parsed:
    """The page of a study that has the text wherever text from outside appears."""
    of = {field: marked(field, text) for field in FIELDS}
    epoch = EpochRow(1, 1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.001, 2.0)
    # Without validation, which refuses lone surrogates.
    images = ImagesRecord.model_construct(
        name=of["images"], fingerprint="f1a9e7", side=32, classes=(of["class"],)
    )
    trial = TrialView(
        number=0,
        state="complete",
        params={of["parameter"]: of["value"]},
        distributions={of["parameter"]: CategoricalDistribution([of["value"]])},
        history=(epoch,),
        monitor="val_loss",
        reason=of["reason"],
        decisions=(of["decision"],),
    )
    snapshot = Snapshot(
        study=of["study"],
        moment=datetime.now(timezone.utc),
        searching=False,
        recipe=recipe(epochs=3).model_copy(update={"images": images}),
        openings=[opening(versions={"treino": of["version"]})],
        trials=(trial,),
        trusted={of["source"]: 0.5},
        order=[(0, 1)],
        documented=None,
        retrained=replace(ROW, title=of["title"], spec='{"training": {"epochs": 3}}'),
        retrained_file=of["path"],
        retraining=(),
        tested=None,
        ensemble=None,
        baseline=None,
        baseline_images=None,
    )
    chart = Chart("curves", "curves", of["caption"], Figure())
    charts = Charts(
        search=[(chart, Markup('<svg class="chart"></svg>'))],
        slices=[],
        model=[],
        claims=[],
        space=[],
    )
    written = render("report.html", report=report_of(snapshot, [], charts))
    written.encode()  # no lone surrogate is left
    return Parsed(written)


PLAIN = page("plain")


def check(text: str) -> None:
    found = page(text)
    assert found.markup == PLAIN.markup
    shown = "\n".join(printable(line) for line in text.split("\n"))
    for field in FIELDS:
        assert marked(field, shown) in found.text, field


@pytest.mark.parametrize("text", NASTY)
def test_outside_text_is_no_markup(text: str) -> None:
    check(text)


@given(st.lists(st.sampled_from([*NASTY, *"<>&\"'/=;#!-"]) | st.text(st.characters())).map("".join))
def test_no_outside_text_is_markup(text: str) -> None:
    check(text)


def test_a_figure_is_markup() -> None:
    assert ("svg", ("class", "chart")) in PLAIN.markup


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("report.html")
