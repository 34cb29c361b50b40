"""What a run shows: every line in a pipe, rows that fit on a terminal."""

import io
import re

import pytest
from rich.console import Console

from search.console.display import Display, LiveDisplay, Overall, PlainDisplay
from search.console.text import duration, plural
from tests.support.laboratory import figures


def tell(display: Display) -> None:
    with display:
        display.say("a line [with] brackets")
        display.job_started(0, "trial 12", 100)
        display.job_started(1, "trial 13", 100)
        display.job_at(0, figures(99, 1.23456))
        best = "best: 0.1234, trial 11"
        display.overall(
            Overall(done=11, total=200, best=best, seconds_left=7260, warm_start="trusted 83%")
        )
        display.job_ended(0, "trial 12: complete: val_loss 1.2346")


def test_in_a_pipe_everything_is_a_plain_line() -> None:
    out = io.StringIO()
    tell(PlainDisplay(Console(file=out, width=20)))
    assert out.getvalue().splitlines() == [
        "a line [with] brackets",
        "trial 12: started",
        "trial 13: started",
        "trial 12: epoch 99/100  val_loss 1.2346  val_accuracy 0.5000",
        "trial 12: complete: val_loss 1.2346",
    ]


@pytest.mark.parametrize("width", [80, 40])
def test_on_a_terminal_rows_fit_and_lines_stay(width: int) -> None:
    out = io.StringIO()
    tell(LiveDisplay(Console(file=out, width=width, force_terminal=True, color_system=None)))
    # Each move of the cursor begins another line.
    rows = [row.rstrip() for row in re.split(r"(?:\x1b\[[0-9;?]*[A-Za-z]|[\r\n])+", out.getvalue())]
    table = [row for row in rows if row.startswith(("trial 12  ", "trial 13  ", "all trials"))]
    assert table
    assert max(map(len, table)) <= width
    assert "a line [with] brackets" in rows
    assert "trial 12: complete: val_loss 1.2346" in rows
    if width == 80:
        assert any("99/100" in row and "val_accuracy 0.5000" in row for row in table)
        assert any(re.fullmatch(r"warm start +trusted 83%", row) for row in rows)
        assert any("11/200    best: 0.1234, trial 11, about 2 h 1 min left" in row for row in table)


def test_a_terminal_has_room_for_some_of_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    screen = Console(file=out, width=80, height=12, force_terminal=True, color_system=None)
    with LiveDisplay(screen) as display:
        for slot in range(1000):
            display.job_started(slot, f"trial {slot}", 20)
        assert out.getvalue().count("trial 6 ") < 100  # not drawn for each of them
        monkeypatch.setattr("search.console.display.REDRAWN_EVERY", 0.0)
        display.overall(Overall(done=0, total=1000))
    assert "and 993 more" in out.getvalue()
    assert "trial 7 " not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_in_words() -> None:
    assert (plural(1, "trial"), plural(2, "trial"), plural(1000, "image")) == (
        "1 trial",
        "2 trials",
        "1,000 images",
    )
