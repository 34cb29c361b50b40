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
    """Write the report of a study, and its figures beside it; returns the page's path.

    Args:
        place: Where the study and what belongs to it are.
        study: Of any kind, empty, running or ended.
        processes: That draw the figures, at the most.
        folder: Where to write; None for the study's own folder, or, where that may not be
            written, a temporary one.

    Raises:
        StorageError: The database does not answer, or a file cannot be written.
    """
    seen, view = look(place, study), pairing.view_of(study, place.records)
    own = place.layout.report(study.study_name)  # which holds nothing else
    folder = folder_to_write(own) if folder is None else folder
    verdicts = judge(view)
    parts = {
        "search": lambda: charts.of_search(seen),
        "slices": lambda: list(space_charts.slices(seen)),
        "model": lambda: model_charts.of_model(seen),
        "claims": lambda: [plots.chart(v, view, chart_parts.WIDTH) for v in verdicts if v.source],
        "space": lambda: space_charts.of_space(seen),  # last: it imports for a second or two
    }
    drawn, files = _drawn(parts, folder, processes)
    body = [
        *_head(seen),
        *_best(seen),
        *_next(seen),
        *_search(seen, drawn["search"]),
        *_why(seen, drawn["space"], drawn["slices"]),
        *_model(seen, drawn["model"]),
        *_claims(verdicts, drawn["claims"]),
        *_trials(seen),
        *_again(seen),
    ]
    path = folder / FILE
    write_atomically(path, page.page(f"{seen.study}: a treino report", body))
    for file in folder.iterdir() if folder == own else ():  # of a report that had more figures
        if file.suffix in (".png", ".svg") and file.name not in files:
            file.unlink()
    return path


def _drawn(
    parts: Mapping[str, Callable[[], Sequence[svg.Chart]]], folder: Path, processes: int
) -> tuple[dict[str, str], set[str]]:
    """Each part's charts as they stand in the page, and the names of the files they are in."""
    drawn = svg.save_all((part() for part in parts.values()), folder, processes)
    galleries = {name: page.gallery(found) for name, found in zip(parts, drawn, strict=True)}
    names = [chart.name for found in drawn for chart, _ in found]
    return galleries, {f"{name}{end}" for name in names for end in (".png", ".svg")}


def _head(seen: Snapshot) -> Iterator[str]:
    moment = f"<time>{seen.moment.astimezone():%Y-%m-%d %H:%M %Z}</time>"
    work = "a search is running" if seen.searching else "no search is running"
    yield (
        f'<header><h1>{text(seen.study)}</h1><button id="theme">light / dark</button></header>\n'
        f"<p>{text(seen.counted)}; {seen.spent:,} epochs. As of {moment}; {work}.</p>"
    )


def _best(seen: Snapshot) -> Iterator[str]:
    yield '<section id="best"><h2>Best result</h2>'
    best = seen.best
    if best is None or best.best is None:
        yield f"<p>{text(_nothing(seen))}</p></section>"
        return
    tiles, model = [], seen.retrained
    if model is not None:
        images = None if seen.tested is None else seen.tested.images
        label = "test accuracy of the retrained model"
        tiles.append(_tile_of(model, images, label, first=True))
    note = f"trial {best.number}, at epoch {best.best.epoch} of {len(best.history)}"
    tiles.append(
        page.tile(
            "validation accuracy of the best trial",
            f"{best.best.val_accuracy:.4f}",
            f"{note}; {seen.monitor} {best.value:.4f}",
            first=model is None,
        )
    )
    if seen.baseline is not None:
        label = "test accuracy of the documents' run 10, trained here"
        tiles.append(_tile_of(seen.baseline, seen.baseline_images, label))
    if seen.cifar10:
        tiles.append(
            page.tile(
                "test accuracy in the documents",
                f"{BEST_TEST_ACCURACY:.4f}",
                "the last of ten runs by hand, on CIFAR-10",
            )
        )
    beside = "".join(f"<p>{text(line)}</p>" for line in _beside(seen))
    yield (
        f'<div class="tiles">{"".join(tiles)}</div><div class="split"><div>{beside}</div>'
        f"{_configuration(seen)}</div></section>"
    )


def _tile_of(model: ModelRow, images: int | None, label: str, *, first: bool = False) -> str:
    note = f"{model.title}, {model.parameters:,} parameters, {model.epochs} epochs"
    if images:
        low, high = of_share(model.test_accuracy, images)
        note += f"; 95 % interval {low:.4f} to {high:.4f}"
    return page.tile(label, f"{model.test_accuracy:.4f}", note, first=first)


def _nothing(seen: Snapshot) -> str:
    if not seen.trials:
        return "No trial has started yet."
    if len(seen.of_state("failed")) == len(seen.trials):
        return "Every trial failed; the reasons are in the table below."
    return "No trial has finished an epoch yet."


def _beside(seen: Snapshot) -> Iterator[str]:
    """What the figures may be held against, and what is missing for that."""
    model, baseline, tested = seen.retrained, seen.baseline, seen.tested
    if model is None:
        yield (
            "No trial is retrained and tested yet: make retrain-best trains the best trial in "
            "full and tests it on the test images."
        )
    if model is not None and tested is not None:
        told = told_share(model.test_accuracy, tested.images)
        line = f"The retrained model's accuracy on the test images is {told}."
        if seen.cifar10:
            low, high = of_share(model.test_accuracy, tested.images)
            within = low <= BEST_TEST_ACCURACY <= high
            beside = _by(model.test_accuracy - BEST_TEST_ACCURACY, within=within)
            line += f" That is {beside} the documents' {BEST_TEST_ACCURACY}."
        yield line
    if not seen.cifar10:
        data = seen.made_with["data"].rpartition(" ")[0]
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


def _configuration(seen: Snapshot) -> str:
    """The best trial's parameters, beside those of the documents' run 10."""
    assert seen.best is not None
    theirs = seen.documented or {}
    headings = ["parameter", f"trial {seen.best.number}"] + ["run 10"] * bool(theirs)
    rows = [
        [name, _shown(value), *([_shown(theirs[name])] if name in theirs else [])]
        for name, value in seen.best.params.items()
    ]
    return page.table(headings, rows, numbers=(1, 2))


def _next(seen: Snapshot) -> Iterator[str]:
    lines = ""
    for piece in advice(seen):
        command = f' <code class="command">{text(piece.command)}</code>' if piece.command else ""
        lines += f"<li>{text(piece.text)}{command}</li>"
    if lines:
        yield f'<section id="next"><h2>Next steps</h2><ul>{lines}</ul></section>'


def _search(seen: Snapshot, drawings: str) -> Iterator[str]:
    if seen.spent:
        yield f'<section id="search"><h2>Search</h2>{drawings}</section>'


def _why(seen: Snapshot, drawings: str, slices: str) -> Iterator[str]:
    if seen.best is None:
        return
    yield '<section id="why"><h2>Parameters</h2>'
    begun = sum(trial.best is not None for trial in seen.trials)
    if begun < space_charts.ENOUGH:
        enough = space_charts.ENOUGH
        yield f"<p>Parameter importance needs {enough} trials; there are {begun}.</p>"
    yield (
        f"{drawings}<p>Each trial's best {text(seen.monitor)} over each parameter. The ring marks "
        "the best trial. Trials that ended early are higher than they would be in full.</p>"
        f"{slices}</section>"
    )


def _model(seen: Snapshot, drawings: str) -> Iterator[str]:
    model = seen.retrained
    if model is None:
        return
    images = None if seen.tested is None else seen.tested.images
    yield (
        f'<section id="model"><h2>Retrained model</h2><p>{text(model.title)}: '
        f"{model.epochs} epochs in {duration(model.seconds)}, best at epoch {model.best_epoch}; "
        f"validation accuracy {model.val_accuracy:.4f}, test accuracy "
        f"{told_share(model.test_accuracy, images)}. "
        f"It is in <code>{text(model.path)}</code>.</p>"
    )
    if seen.tested is None:
        yield "<p>Its predictions on the test images are missing, or belong to another model.</p>"
    yield f"{drawings}</section>"


def _claims(verdicts: Sequence[ClaimVerdict], drawings: str) -> Iterator[str]:
    """What the documents say of hyperparameters, where anything was trained that tells."""
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


def _trials(seen: Snapshot) -> Iterator[str]:
    if not seen.trials:
        return
    ranked = sorted(seen.trials, key=lambda trial: (trial.value, STATES.index(trial.state)))
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
        ("trial", "state", seen.monitor, "accuracy", "epochs", "decisions and reason"),
        rows,
        numbers=(0, 2, 3, 4),
        why=5,
        best=0 if seen.best is not None else None,
    )
    opened = " open" if seen.best is None else ""
    yield (
        f'<section id="trials"><h2>All trials</h2><details{opened}><summary>'
        f"{text(seen.counted)}</summary>{listed}</details></section>"
    )


def _again(seen: Snapshot) -> Iterator[str]:
    commands = dict.fromkeys(search_command(seen.study, seen.made_with, by) for by in seen.made_by)
    if seen.retrained is not None:
        epochs = json.loads(seen.retrained.spec)["training"]["epochs"]
        commands[retrain_command(seen.study, epochs)] = None
    with_, by = seen.made_with, seen.made_by[-1]
    rows = [
        ("images", with_["data"].rpartition(" ")[0]),
        ("fingerprint", with_["data"].rpartition(" ")[2]),
        ("space", with_["space"]),
        ("classes", ", ".join(seen.classes)),
        *((name, by[name]) for name in _VERSIONS if name in by),
    ]
    earlier = {name: {b.get(name, "") for b in seen.made_by} for name in _VERSIONS}
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
