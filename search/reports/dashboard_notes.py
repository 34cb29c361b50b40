"""Writes a study's content for optuna-dashboard: a short note, two figures, the delivered model.

It writes to the study, so only the process that holds the study's lease may call it.
"""

import filecmp
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState

from models.history import told_objective
from search.figures import plots
from search.reports.chart_parts import COLOURS
from search.reports.reproduce import search_command
from search.study.opening import Opening
from search.study.recipe import StudyRecipe
from search.study.snapshot import STATES, Snapshot, TrialView, look
from search.study.study_front import front_of
from search.study.trials import best_trial, counted, lowest
from search.study.workspace import Workspace
from search.tuning.observers import Observer
from storage.errors import StorageError
from storage.files import Layout, replacing
from storage.lease import LeaseHeld, StudyLease

MOST = 300  # most trials in a figure: figures are stored in the study, in small pieces
NOTE_EVERY = 10.0  # least seconds between two notes: each reads the whole study
LARGEST = 64 * 2**20  # most bytes of a file that is copied for the dashboard
_ARTIFACT = "artifacts:"  # Optuna's prefix of an artifact's id in a study's attributes


class DashboardNotes(Observer):
    """Keeps a study's dashboard content up to date during a search."""

    def __init__(self) -> None:
        self._noted = time.monotonic()

    def trial_ended(self, study: optuna.Study) -> None:
        """Update the note, at most every ``NOTE_EVERY`` seconds."""
        if time.monotonic() - self._noted > NOTE_EVERY:
            note(study)
            self._noted = time.monotonic()

    def search_ended(
        self, workspace: Workspace, study: optuna.Study, stopped: Callable[[], bool]
    ) -> None:
        """Update the note, the main figures and the delivered model."""
        finish(workspace, study)


def note(study: optuna.Study) -> None:
    """Update the study's note: best so far, progress, how to resume.

    It takes one read, and two writes if anything has changed.
    """
    from optuna_dashboard import get_note, save_note

    text = note_text(study)
    if text is not None and get_note(study) != text:
        save_note(study, text)


def note_text(study: optuna.Study) -> str | None:
    """The note, in Markdown; None if the study does not store how it was made."""
    attributes = study.user_attrs
    recipe, openings = StudyRecipe.stored_in(attributes), Opening.all_stored_in(attributes)
    if recipe is None or not openings:
        return None
    trials = counted(study.get_trials(deepcopy=False))
    names = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "unfinished",
    }
    states = [(sum(t.state is state for t in trials), name) for state, name in names.items()]
    progress = ", ".join(f"{count} {name}" for count, name in states if count)
    epochs = sum(len(trial.intermediate_values) for trial in trials)
    best = best_trial(study)
    best_so_far = "none yet."
    if best is not None:
        value = lowest(best)
        epoch = min(e for e, v in best.intermediate_values.items() if v == value)
        best_so_far = (
            f"trial {best.number}, {told_objective(value, recipe.monitor)} at epoch {epoch} of "
            f"{len(best.intermediate_values)}."
        )
    front = front_of(study)
    on_front = (
        "" if front is None else "; ".join(f"trial {t.number}, {t.text}" for t in front.trials)
    )
    # A code block needs no escaping, only a fence longer than any in its text.
    command = search_command(study.study_name, recipe, openings[-1])
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", command))]))
    lines = [
        f"**Best so far:** {best_so_far}",
        "",
        *([f"**Front**, smallest first: {on_front}.", ""] if on_front else []),
        f"**Progress:** {len(trials)} trials ({progress or 'none started'}), {epochs} epochs.",
        "",
        "**To resume**, run the same command; then `make retrain-best` and `make report`:",
        "",
        f"{fence}\n{command}\n{fence}",
    ]
    return "\n".join(lines)


def finish(workspace: Workspace, study: optuna.Study) -> None:
    """Update note, main figures and delivered model at the end of a search.

    Raises:
        StorageError: The database does not answer, or a file cannot be copied.
    """
    from optuna_dashboard import save_plotly_graph_object

    note(study)
    snapshot = look(workspace, study, searching=False)
    for name, figure in figures(snapshot).items():
        save_plotly_graph_object(study, figure, graph_object_id=name)
    attach_best(study, workspace.layout)


def figures(snapshot: Snapshot) -> Mapping[str, Any]:
    """Plotly figures by name that the dashboard does not draw itself.

    Training against validation accuracy, and where the epochs went, for the best `MOST` trials.
    """
    import plotly.graph_objects as go

    drawn = sorted((t for t in snapshot.trials if t.best is not None), key=lambda t: t.value)[:MOST]
    if not drawn:
        return {}
    points = [(t, t.best.accuracy, t.best.val_accuracy) for t in drawn if t.best is not None]
    ends = [min(min(x, y) for _, x, y in points), max(max(x, y) for _, x, y in points)]
    equal = {"mode": "lines", "line": {"color": "#999", "dash": "dot"}, "name": "equal"}
    gap = [go.Scatter(x=_short(ends), y=_short(ends), hoverinfo="skip", **equal)]
    for state in STATES:
        of = [point for point in points if point[0].state == state]
        if of:
            gap.append(
                go.Scatter(
                    x=_short([x for _, x, _ in of]),
                    y=_short([y for _, _, y in of]),
                    text=[_told(trial) for trial, _, _ in of],
                    hoverinfo="text",
                    mode="markers",
                    marker={"color": COLOURS[state]},
                    name=state,
                )
            )
    epochs = list(range(1, snapshot.epochs + 1))
    spent = []
    for state in STATES:
        lengths = [len(trial.history) for trial in snapshot.of_state(state)]
        if any(lengths):
            heights = [sum(length >= epoch for length in lengths) for epoch in epochs]
            colour = {"color": COLOURS[state]}
            spent.append(go.Bar(x=epochs, y=heights, marker=colour, name=state))
    return {
        "overfitting": go.Figure(
            gap,
            _layout(
                "Training against validation accuracy", "training accuracy", "validation accuracy"
            ),
        ),
        "epochs-spent": go.Figure(
            spent,
            {**_layout("Where the epochs went", "epoch", "trials"), "barmode": "stack"},
        ),
    }


def attach_best(study: optuna.Study, layout: Layout) -> None:
    """Add the delivered model and its files to the study's artifacts.

    A file that already exists is replaced, so that repeated retraining leaves one of each. A model
    of more than `LARGEST` bytes is left out.

    Raises:
        StorageError: A file cannot be copied.
    """
    files = layout.best(study.study_name)
    wanted = (files.model, files.spec, files.history, files.curves, files.confusion, files.mistakes)
    storage, number = study._storage, study._study_id  # noqa: SLF001 - Optuna has no other way
    artifacts = {}
    for key, value in storage.get_study_system_attrs(number).items():
        if key.startswith(_ARTIFACT) and (meta := json.loads(value)):  # null: deleted by the user
            artifacts[meta["filename"]] = layout.artifacts / meta["artifact_id"]
    try:
        layout.artifacts.mkdir(parents=True, exist_ok=True)
        store = FileSystemArtifactStore(layout.artifacts)
        for file in wanted:
            there = artifacts.get(file.name)
            if not file.is_file() or file.stat().st_size > LARGEST:
                if there is not None:
                    there.unlink(missing_ok=True)
            elif there is None:
                upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)
            elif not there.is_file() or not filecmp.cmp(file, there, shallow=False):
                _replace(there, file)
    except OSError as error:
        raise StorageError(
            f"cannot store artifacts in {layout.artifacts}: {error.strerror or error}"
        ) from error


def attach_unless_searched(workspace: Workspace, study: optuna.Study) -> None:
    """Add the delivered model to the study's artifacts, unless a search is running.

    This writes to the study, so a running search does it at its end instead.
    """
    with suppress(LeaseHeld), StudyLease(workspace.storage.engine, study.study_name):
        attach_best(study, workspace.layout)


def _replace(there: Path, file: Path) -> None:
    with replacing(there) as temporary:
        shutil.copyfile(file, temporary)


def _told(trial: TrialView) -> str:
    """A trial in two lines, without HTML, because Plotly interprets some."""
    reason = plots.shortened(trial.reason, 100)
    return "<br>".join(re.sub("[<>&]", " ", line) for line in (trial.name, reason) if line)


def _short(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _layout(title: str, across: str, up: str) -> dict[str, Any]:
    return {
        "template": {},  # Plotly's own would be most of the stored data
        "plot_bgcolor": "#ffffff",
        "title": {"text": title},
        "xaxis": {"title": {"text": across}, "gridcolor": plots.LINES},
        "yaxis": {"title": {"text": up}, "gridcolor": plots.LINES},
    }
