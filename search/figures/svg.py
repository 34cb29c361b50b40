"""Saves a matplotlib figure as PNG, as SVG, and as a figure in a page that follows its colours.

Two features are added to matplotlib's SVG: text that shows on hover, and colours from a style
sheet.
"""

import gc
import io
import re
import signal
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from search import processes
from search.errors import TreinoError
from search.figures import plots
from storage.files import write_atomically

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_ENDING = 3.0  # seconds; a broken pool that can end does so at once
_MOST_DRAWERS = 8  # for about twenty figures
_SVG = "http://www.w3.org/2000/svg"
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINK = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")

THEME = {
    plots.INK: "--ink",
    plots.MUTED: "--muted",
    plots.LINES: "--lines",
    plots.BLUE: "--blue",
    plots.VERMILION: "--vermilion",
    plots.ORANGE: "--orange",
    plots.GREEN: "--green",
    plots.GREY: "--grey",
    "#B0B0B0": "--muted",
    "#000000": "--ink",
}
"""Chart colours, and the page's variable that replaces each."""

Tips = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A figure with its title, caption and hover texts.

    Attributes:
        name: Name of its files, without suffix.
        title: What it shows, in a few words.
        caption: How to read it.
        figure: The drawing.
        tips: Hover texts by the ``gid`` of their element: one for a line, one for each point of a
            scatter.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"
    tips: Tips = field(default_factory=dict)


def save_all(
    groups: Iterable[Iterable[Chart]], folder: Path, drawers: int
) -> list[list[tuple[Chart, "Markup"]]]:
    """Write charts as `save` does, in several processes if forking is possible.

    Args:
        groups: The charts; a group is created while earlier groups are drawn.
        folder: Output folder.
        drawers: Maximum number of processes.

    Returns:
        Every chart with its SVG element, group by group.

    Raises:
        StorageError: A file cannot be written.
        TreinoError: A process that was drawing was killed.
    """
    # Without fork, the imports of a process would take as long as drawing here.
    if sys.platform != "linux" or drawers < 2:
        return [[(chart, save(chart, folder)) for chart in group] for group in groups]
    pool = ProcessPoolExecutor(min(drawers, _MOST_DRAWERS), get_context("fork"), _as_drawer)
    try:
        submitted = [[(chart, _submit(pool, chart, folder)) for chart in group] for group in groups]
        return [[(chart, drawn.result()) for chart, drawn in group] for group in submitted]
    except BrokenProcessPool as error:
        _end_broken(pool)
        reason = "a process that drew the figures was killed, probably because memory ran out"
        raise TreinoError(f"{reason}: free some memory and run this again") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_broken(pool: Any) -> None:
    """Let a pool end, one of whose processes was killed.

    Python 3.10 and early versions of 3.11 wait forever to hand a dead process its figure, if that
    is larger than a pipe (python/cpython, issue 94777). Without a reader, the hand-over ends.
    """
    manager = pool._executor_manager_thread  # noqa: SLF001 - there is no public way
    manager.join(_ENDING)
    if manager.is_alive():  # else this Python ends it by itself
        pool._call_queue._reader.close()  # noqa: SLF001


def _submit(pool: ProcessPoolExecutor, chart: Chart, folder: Path) -> "Future[Markup]":
    with warnings.catch_warnings():
        # From 3.12 on Python warns about forks in multi-threaded processes, because locks may
        # stay held. The threads here are NumPy's linear algebra threads, which are idle.
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        return pool.submit(save, chart, folder)


def _as_drawer() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    processes.leave_with_parent()
    gc.disable()  # it could collect the database's connections


def save(chart: Chart, folder: Path) -> "Markup":
    """Write a chart as PNG and SVG, and return it as an SVG element for a page.

    Raises:
        StorageError: A file cannot be written.
    """
    from matplotlib import rc_context

    drawn = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": chart.name}
    with rc_context(settings), warnings.catch_warnings():
        # Letters missing in the font: a browser has a font with them.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        plots.lay_out(chart.figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        chart.figure.savefig(drawn, format="svg", metadata=nothing)
    plots.save(chart.figure, folder / f"{chart.name}.png")
    root = ElementTree.fromstring(drawn.getvalue())  # noqa: S314 - written by matplotlib
    _add_tips(root, chart.tips)
    write_atomically(folder / f"{chart.name}.svg", ElementTree.tostring(root, encoding="unicode"))
    return _for_page(root, chart)


def _add_tips(root: ElementTree.Element, tips: Tips) -> None:
    """Add tips as ``title`` elements, which browsers show on hover."""
    for element in root.iter():
        tip = tips.get(element.get("id", ""))
        if tip is None:
            continue
        if isinstance(tip, str):
            _title(element, tip)
            continue
        # Points are copies of one shape or, if few, separate shapes.
        points = list(element.iter(f"{{{_SVG}}}use")) or list(element.iter(f"{{{_SVG}}}path"))
        for point, text in zip(points, tip, strict=True):
            _title(point, text)


def _title(element: ElementTree.Element, text: str) -> None:
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = _NOT_XML.sub(lambda match: repr(match[0])[1:-1], text)
    element.insert(0, title)


def _for_page(root: ElementTree.Element, chart: Chart) -> "Markup":
    """The drawing for a page: the page sets size and colours, and ids are unique."""
    from markupsafe import Markup

    linked = {link.lstrip("#") for e in root.iter() if (link := e.get(_LINK, "")).startswith("#")}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
    for element in root.iter():
        name = element.get("id", "")
        if name and name not in linked and not element.tag.endswith("clipPath"):
            del element.attrib["id"]
        style = element.get("style")
        if style:
            for colour, variable in THEME.items():
                style = style.replace(colour.lower(), f"var({variable})")
            element.set("style", style.replace("'DejaVu Sans', ", "", 1))
    _see_through(root)
    for size in ("width", "height"):
        del root.attrib[size]
    root.set("role", "img")
    root.set("aria-label", chart.title)
    root.set("class", "chart")
    drawing = ElementTree.tostring(root, encoding="unicode")
    return Markup(drawing)  # noqa: S704 - ElementTree escapes all text


def _see_through(root: ElementTree.Element) -> None:
    """Remove the white background of figure and panels: the page has its own."""
    for element in root.iter(f"{{{_SVG}}}path"):
        if element.get("style", "").strip() == "fill: #ffffff":
            element.set("style", "fill: none")
