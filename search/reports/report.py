"""Writes the study report: the best result, what drives it, and what to try next."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import optuna

from models.documented import BEST_TEST_ACCURACY
from search.claims import pairing, plots
from search.claims.verdicts import ClaimVerdict, judge
from search.console.text import duration
from search.figures import svg
from search.intervals import of_share, told_share
from search.reports import chart_parts, charts, model_charts, space_charts
from search.reports import html as page
from search.reports.advice import advice
from search.reports.reproduce import retrain_command, search_command
from search.spaces.records import described
from search.study.snapshot import STATES, Snapshot, look
from search.study.workspace import Workspace
from storage.files import folder_to_write, write_atomically
from storage.tables import ModelRow

FILE = "report.html"
_VERSIONS = ("treino", "python", "tensorflow", "keras", "optuna", "numpy")
text = page.text


def write(
    place: Workspace, study: optuna.Study, processes: int = 1, folder: Path | None = None
) -> Path:
    """Write the study report and its figures; return the page's path.

    Args:
        place: The study's workspace.
        study: The study; it may be empty, running or ended.
        processes: Maximum number of processes that draw the figures.
        folder: Output folder; None for the study's own folder or, if that is not writable, a
            temporary one.

    Raises:
        StorageError: The database does not answer, or a file cannot be written.
    """
    snapshot, view = look(place, study), pairing.view_of(study, place.records)
    own = place.layout.report(study.study_name)  # it has nothing else
    folder = folder_to_write(own) if folder is None else folder
    verdicts = judge(view)
    parts = {
        "search": lambda: charts.of_search(snapshot),
        "slices": lambda: list(space_charts.slices(snapshot)),
        "model": lambda: model_charts.of_model(snapshot),
        "claims": lambda: [plots.chart(v, view, chart_parts.WIDTH) for v in verdicts if v.source],
        "space": lambda: space_charts.of_space(
            snapshot
        ),  # last, because its imports take a second or two
    }
    drawn, files = _drawn(parts, folder, processes)
    body = [
        *_head(snapshot),
        *_best(snapshot),
        *_next(snapshot),
        *_search(snapshot, drawn["search"]),
        *_why(snapshot, drawn["space"], drawn["slices"]),
        *_model(snapshot, drawn["model"]),
        *_claims(verdicts, drawn["claims"]),
        *_trials(snapshot),
        *_again(snapshot),
    ]
    path = folder / FILE
    write_atomically(path, page.page(f"{snapshot.study}: a treino report", body))
    for file in folder.iterdir() if folder == own else ():  # left from a report with more figures
        if file.suffix in (".png", ".svg") and file.name not in files:
            file.unlink()
    return path


def _drawn(
    parts: Mapping[str, Callable[[], Sequence[svg.Chart]]], folder: Path, processes: int
) -> tuple[dict[str, str], set[str]]:
    """Each part's charts as HTML, and the names of their files."""
    drawn = svg.save_all((part() for part in parts.values()), folder, processes)
    galleries = {name: page.gallery(found) for name, found in zip(parts, drawn, strict=True)}
    names = [chart.name for found in drawn for chart, _ in found]
    return galleries, {f"{name}{end}" for name in names for end in (".png", ".svg")}


def _head(snapshot: Snapshot) -> Iterator[str]:
    moment = f"<time>{snapshot.moment.astimezone():%Y-%m-%d %H:%M %Z}</time>"
    work = "a search is running" if snapshot.searching else "no search is running"
    yield (
        f"<header><h1>{text(snapshot.study)}</h1>"
        '<button id="theme">light / dark</button></header>\n'
        f"<p>{text(snapshot.counted)}; {snapshot.spent:,} epochs. As of {moment}; {work}.</p>"
    )


def _best(snapshot: Snapshot) -> Iterator[str]:
    yield '<section id="best"><h2>Best result</h2>'
    best = snapshot.best
    if best is None or best.best is None:
        yield f"<p>{text(_nothing(snapshot))}</p></section>"
        return
    tiles, model = [], snapshot.retrained
    if model is not None:
        images = None if snapshot.tested is None else snapshot.tested.images
        label = "test accuracy of the retrained model"
        tiles.append(_tile_of(model, images, label, first=True))
    note = f"trial {best.number}, at epoch {best.best.epoch} of {len(best.history)}"
    tiles.append(
        page.tile(
            "validation accuracy of the best trial",
            f"{best.best.val_accuracy:.4f}",
            f"{note}; {snapshot.monitor} {best.value:.4f}",
            first=model is None,
        )
    )
    if snapshot.baseline is not None:
        label = "test accuracy of the documents' run 10, trained here"
        tiles.append(_tile_of(snapshot.baseline, snapshot.baseline_images, label))
    if snapshot.cifar10:
        tiles.append(
            page.tile(
                "test accuracy in the documents",
                f"{BEST_TEST_ACCURACY:.4f}",
                "the last of ten runs by hand, on CIFAR-10",
            )
        )
    beside = "".join(f"<p>{text(line)}</p>" for line in _beside(snapshot))
    yield (
        f'<div class="tiles">{"".join(tiles)}</div><div class="split"><div>{beside}</div>'
        f"{_configuration(snapshot)}</div></section>"
    )


def _tile_of(model: ModelRow, images: int | None, label: str, *, first: bool = False) -> str:
    note = f"{model.title}, {model.parameters:,} parameters, {model.epochs} epochs"
    if images:
        low, high = of_share(model.test_accuracy, images)
        note += f"; 95 % interval {low:.4f} to {high:.4f}"
    return page.tile(label, f"{model.test_accuracy:.4f}", note, first=first)


def _nothing(snapshot: Snapshot) -> str:
    if not snapshot.trials:
        return "No trial has started yet."
    if len(snapshot.of_state("failed")) == len(snapshot.trials):
        return "Every trial failed; the reasons are in the table below."
    return "No trial has finished an epoch yet."


def _beside(snapshot: Snapshot) -> Iterator[str]:
    """Comparisons for the figures, and what is missing for them."""
    model, baseline, tested = snapshot.retrained, snapshot.baseline, snapshot.tested
    if model is None:
        yield (
            "No trial is retrained and tested yet: make retrain-best trains the best trial in "
            "full and tests it on the test images."
        )
    if model is not None and tested is not None:
        told = told_share(model.test_accuracy, tested.images)
        line = f"The retrained model's accuracy on the test images is {told}."
        if snapshot.cifar10:
            low, high = of_share(model.test_accuracy, tested.images)
            within = low <= BEST_TEST_ACCURACY <= high
            beside = _by(model.test_accuracy - BEST_TEST_ACCURACY, within=within)
            line += f" That is {beside} the documents' {BEST_TEST_ACCURACY}."
        yield line
    if not snapshot.cifar10:
        data = snapshot.recipe.images.name
        yield (f"The images are {data}, not CIFAR-10: the documents' figures do not apply to them.")
    if baseline is None:
        yield "The documents' run 10 is not trained on these images yet: run make baseline."
    elif model is not None:
        by = model.test_accuracy - baseline.test_accuracy
        yield (
            f"The retrained model's test accuracy differs by {by:+.4f} from that of run 10, "
            "trained here on the same images."
        )


def _by(difference: float, *, within: bool) -> str:
    if within:
        return f"{difference:+.4f}, within the interval, so neither better nor worse than"
    return f"{abs(difference):.4f} {'more' if difference > 0 else 'less'} than"


def _configuration(snapshot: Snapshot) -> str:
    """The best trial's parameters next to those of the documents' run 10."""
    assert snapshot.best is not None
    theirs = snapshot.documented or {}
    headings = ["parameter", f"trial {snapshot.best.number}"] + ["run 10"] * bool(theirs)
    rows = [
        [name, _shown(value), *([_shown(theirs[name])] if name in theirs else [])]
        for name, value in snapshot.best.params.items()
    ]
    return page.table(headings, rows, numbers=(1, 2))


def _next(snapshot: Snapshot) -> Iterator[str]:
    lines = ""
    for piece in advice(snapshot):
        command = f' <code class="command">{text(piece.command)}</code>' if piece.command else ""
        lines += f"<li>{text(piece.text)}{command}</li>"
    if lines:
        yield f'<section id="next"><h2>Next steps</h2><ul>{lines}</ul></section>'


def _search(snapshot: Snapshot, drawings: str) -> Iterator[str]:
    if snapshot.spent:
        yield f'<section id="search"><h2>Search</h2>{drawings}</section>'


def _why(snapshot: Snapshot, drawings: str, slices: str) -> Iterator[str]:
    if snapshot.best is None:
        return
    yield '<section id="why"><h2>Parameters</h2>'
    begun = sum(trial.best is not None for trial in snapshot.trials)
    if begun < space_charts.ENOUGH:
        enough = space_charts.ENOUGH
        yield f"<p>Parameter importance needs {enough} trials; there are {begun}.</p>"
    yield (
        f"{drawings}<p>Each trial's best {text(snapshot.monitor)} over each parameter. The ring "
        "marks the best trial. Trials that ended early are higher than they would be in full.</p>"
        f"{slices}</section>"
    )


def _model(snapshot: Snapshot, drawings: str) -> Iterator[str]:
    model = snapshot.retrained
    if model is None:
        return
    images = None if snapshot.tested is None else snapshot.tested.images
    yield (
        f'<section id="model"><h2>Retrained model</h2><p>{text(model.title)}: '
        f"{model.epochs} epochs in {duration(model.seconds)}, best at epoch {model.best_epoch}; "
        f"validation accuracy {model.val_accuracy:.4f}, test accuracy "
        f"{told_share(model.test_accuracy, images)}. "
        f"It is in <code>{text(model.path)}</code>.</p>"
    )
    if snapshot.tested is None:
        yield "<p>Its predictions on the test images are missing, or belong to another model.</p>"
    yield f"{drawings}</section>"


def _claims(verdicts: Sequence[ClaimVerdict], drawings: str) -> Iterator[str]:
    """The report's claims about hyperparameters that have data."""
    if not drawings:
        return
    yield (
        '<section id="claims"><h2>Claims of the documents</h2><p>Effects with 95% intervals. '
        "An interval on the grey side of zero supports the claim; on the other side, it "
        f"contradicts it. The results hold for these images.</p>{drawings}"
    )
    unknown = [verdict.claim.text for verdict in verdicts if not verdict.source]
    if unknown:
        listed = "".join(f"<li>{text(claim)}</li>" for claim in unknown)
        yield f"<p>No data yet for:</p><ul>{listed}</ul>"
    if any(verdict.missing for verdict in verdicts):
        yield (
            "<p>To run the missing trainings: "
            '<code class="command">treino claims --settle</code></p>'
        )
    yield "</section>"


def _trials(snapshot: Snapshot) -> Iterator[str]:
    if not snapshot.trials:
        return
    ranked = sorted(snapshot.trials, key=lambda trial: (trial.value, STATES.index(trial.state)))
    rows = []
    for trial in ranked:
        best = trial.best
        rows.append(
            (
                str(trial.number),
                trial.state,
                f"{trial.judged(best):.4f}" if best else "",
                f"{best.val_accuracy:.4f}" if best else "",
                str(len(trial.history)),
                "\n".join((*trial.decisions, *filter(None, [trial.reason]))),
            )
        )
    listed = page.table(
        ("trial", "state", snapshot.monitor, "accuracy", "epochs", "decisions and reason"),
        rows,
        numbers=(0, 2, 3, 4),
        why=5,
        best=0 if snapshot.best is not None else None,
    )
    opened = " open" if snapshot.best is None else ""
    yield (
        f'<section id="trials"><h2>All trials</h2><details{opened}><summary>'
        f"{text(snapshot.counted)}</summary>{listed}</details></section>"
    )


def _again(snapshot: Snapshot) -> Iterator[str]:
    commands = dict.fromkeys(
        search_command(snapshot.study, snapshot.recipe, by) for by in snapshot.openings
    )
    if snapshot.retrained is not None:
        epochs = json.loads(snapshot.retrained.spec)["training"]["epochs"]
        commands[retrain_command(snapshot.study, epochs)] = None
    recipe, versions = snapshot.recipe, snapshot.openings[-1].versions
    rows = [
        ("images", recipe.images.name),
        ("fingerprint", recipe.images.fingerprint),
        ("space", described(recipe.space)),
        ("classes", ", ".join(snapshot.classes)),
        *((name, versions[name]) for name in _VERSIONS if name in versions),
    ]
    earlier = {name: {by.versions.get(name, "") for by in snapshot.openings} for name in _VERSIONS}
    mixed = [name for name, found in earlier.items() if len(found) > 1]
    yield '<section id="again"><h2>Reproduce</h2>'
    yield f"<pre>{text(chr(10).join(commands))}</pre>"
    if mixed:
        yield f"<p>Earlier searches used other versions of: {text(', '.join(mixed))}.</p>"
    yield page.table(("made with", ""), rows, why=1) + (
        "<p>treino's version is the git commit it ran from, with a + if it had local changes. "
        "Trials repeat bit for bit on the same kind of machine with the same number of workers.</p>"
        "</section>"
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
