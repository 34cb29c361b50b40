"""Writes the study report: the best result, what drives it, and what to try next."""

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna

from search.claims import pairing, plots
from search.claims.verdicts import judge
from search.figures import svg
from search.reports import chart_parts, charts, model_charts, space_charts
from search.reports.contents import Charts, report_of
from search.reports.html import render
from search.study.snapshot import look
from search.study.workspace import Workspace
from storage.files import folder_to_write, write_atomically

FILE = "report.html"
_ENDS = (".png", ".svg")


def write(
    workspace: Workspace, study: optuna.Study, processes: int = 1, folder: Path | None = None
) -> Path:
    """Write the study report and its figures; return the page's path.

    Args:
        workspace: The study's workspace.
        study: The study; it may be empty, running or ended.
        processes: Maximum number of processes that draw the figures.
        folder: Output folder; None for the study's own folder or, if that is not writable, a
            temporary one.

    Raises:
        StorageError: The database does not answer, or a file cannot be written.
    """
    snapshot, view = look(workspace, study), pairing.view_of(study, workspace.records)
    own = workspace.layout.report(study.study_name)  # it has nothing else
    folder = folder_to_write(own) if folder is None else folder
    verdicts = judge(view)
    parts: dict[str, Callable[[], Sequence[svg.Chart]]] = {
        "search": lambda: charts.of_search(snapshot),
        "slices": lambda: list(space_charts.slices(snapshot)),
        "model": lambda: model_charts.of_model(snapshot),
        "claims": lambda: [plots.chart(v, view, chart_parts.WIDTH) for v in verdicts if v.source],
        # Last, because its imports take a second or two.
        "space": lambda: space_charts.of_space(snapshot),
    }
    groups = svg.save_all((part() for part in parts.values()), folder, processes)
    drawn = Charts(**dict(zip(parts, groups, strict=True)))
    path = folder / FILE
    content = report_of(snapshot, verdicts, drawn)
    write_atomically(path, render("report.html", report=content))
    files = {f"{chart.name}{end}" for group in groups for chart, _ in group for end in _ENDS}
    for file in folder.iterdir() if folder == own else ():  # left from a report with more figures
        if file.suffix in _ENDS and file.name not in files:
            file.unlink()
    return path
