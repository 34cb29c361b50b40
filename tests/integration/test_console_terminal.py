"""What is printed reaches every terminal: any encoding, any width, any name, shown as it is."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import Dataset
from search.console.display import LiveDisplay, Overall, PlainDisplay, make_display
from search.console.terminal import console, print_json, printable, progress_bar, say, take_any_text
from search.reports import leaderboard, listings
from search.retraining.card import plain
from search.study.attributes import RECIPE
from storage.study import StudySummaryRow
from tests.support.laboratory import figures
from tests.support.recipes import recipe

ROOT = Path(__file__).parents[2]
TREINO = str(Path(sys.executable).with_name("treino"))
# As Rich, Markdown, HTML and mathematics would read them, and as scripts of all kinds write them.
NAMES = (
    *(
        "[bold]x",
        "apple [green]",
        "[/]",
        "[link=http://x]y[/link]",
        "[@click=quit]",
        "\\[x",
        ":cat:",
    ),
    *("<b>x", "a&b", "$5_", "`x`", "_x_", "%s", "{0}", "שלום", "👩‍🔬 dog", "é → ü", "x\udce7"),
)


@contextlib.contextmanager
def terminal(encoding: str, errors: str = "strict") -> Iterator[io.BytesIO]:
    """Standard streams of an encoding, and what is written to them."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding, errors, write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        take_any_text()
        yield written
    stream.detach()  # which would otherwise close it


def images(names: tuple[str, ...]) -> Dataset:
    from tests.support.studies import dataset

    return dataset(names, names[0])


def everything(names: tuple[str, ...]) -> None:
    """Print names through all that prints names."""
    screen = console()
    screen.print(listings.table_of_images(images(names)))
    rows = [
        StudySummaryRow(n, {"COMPLETE": 1}, 0.5, 0.5, {RECIPE: recipe(n).stored()}, None, None)
        for n in names
    ]
    screen.print(listings.table_of_studies(rows))
    found = [leaderboard.Row(n, "retrain", 0.5, 0.5, 1.0, 9, 9, 9.0, 20, (0.2, 0.7)) for n in names]
    screen.print(leaderboard.table(found, f"study {names[0]}"))
    with make_display() as display, progress_bar() as progress:
        for slot, name in enumerate(names):
            progress(name, 1, 2)
            display.job_started(slot, name, 9)
            display.job_at(slot, figures(1, 0.5))
        display.overall(Overall(1, 2, best=names[0], seconds_left=3.0, next_hour=names[-1]))
        for slot, name in enumerate(names):
            display.job_ended(slot, name)
    print_json(names)
    say(names[0])


# The live display writes to the same streams, at ten times the cost: once for each sort of value.
@pytest.mark.parametrize(
    ("encoding", "live"),
    [(name, False) for name in ("ascii", "latin-1", "cp1252", "cp437", "utf-8", "shift_jis")]
    + [("ascii", True), ("utf-8", True)],
)
def test_every_name_can_be_printed_in_every_encoding(
    encoding: str, *, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if live:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal(encoding) as written:
        everything(NAMES)
    assert written.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with terminal("utf-8") as written:
        everything((name,))
    shown = written.getvalue().decode("utf-8")
    lines = [line for line in shown.splitlines() if printable(name) in line or name in line]
    # Images: title and row; studies: once; leaderboard: title and row; display: started, epoch,
    # ended; the last word.
    assert len(lines) >= 9


@pytest.mark.parametrize(
    ("columns", "live"),
    [(width, False) for width in ("0", "1", "5", "abc", "", "-3", "99999999999999999999")]
    + [("1", True), ("5", True), ("-3", True)],
)
def test_any_width_is_wide_enough(
    columns: str, *, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns if len(columns) < 9 else "500")
    monkeypatch.setenv("LINES", columns if len(columns) < 9 else "500")
    monkeypatch.setenv("NO_COLOR", "1")
    if live:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal("ascii") as written:
        everything(NAMES)
    assert written.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_display(), PlainDisplay)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_display(), LiveDisplay)


def test_closed_streams_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    take_any_text()
    everything(NAMES)


@given(st.text())
def test_a_printable_text_stays_on_its_line(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e]", shown)
    if text.isprintable():
        assert shown == text


@given(st.text())
def test_json_is_ascii_and_gives_everything_back(text: str) -> None:
    with terminal("ascii") as written:
        print_json({"name": text, "nan": float("nan")})
    assert json.loads(written.getvalue().decode("ascii")) == {"name": text, "nan": None}


def test_only_one_place_makes_consoles_and_prints() -> None:
    """A console of Rich's own would read names as markup."""
    for file in (ROOT / "search").rglob("*.py"):
        if file.name != "terminal.py":
            text = file.read_text(encoding="utf-8")
            assert not re.search(
                r"\bConsole\(|\brich import print|from_markup|typer\.echo", text
            ), file


PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        (PLAIN_C, r"a\xe7\xfacar \u7814"),
        (PLAIN_C | {"PYTHONIOENCODING": "utf-8"}, "açúcar 研"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}, r"a\xe7\xfacar \u7814"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"}, r"açúcar \u7814"),
    ],
)
def test_a_name_of_any_script_in_any_locale(
    environment: dict[str, str], shown: str, tmp_path: Path
) -> None:
    made = subprocess.run(
        [TREINO, "data", "--data", "açúcar 研"],
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
        capture_output=True,
    )
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    (line,) = made.stderr.decode(encoding).splitlines()
    assert line.startswith(f"treino: no images '{shown}'")


def test_markdown_shows_names_as_they_are() -> None:
    assert plain("a|b <script> [x](y) _z_ `c` $5") == (r"a\|b \<script\> \[x\](y) \_z\_ \`c\` \$5")
    assert plain("two\nlines") == r"two\\nlines"
    assert plain("CIFAR-10 (JPEG), 50 %") == "CIFAR-10 (JPEG), 50 %"
