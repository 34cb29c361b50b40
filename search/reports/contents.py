"""What the study report says, in plain text; templates/report.html lays it out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.documented import BEST_TEST_ACCURACY
from models.history import told_objective
from search.claims.verdicts import ClaimVerdict
from search.console.text import plural
from search.figures.svg import Chart
from search.intervals import of_share, told_if_wide, told_share
from search.reports import space_charts
from search.reports.advice import Advice, advice
from search.reports.reproduce import of_study, retrain_command, search_command
from search.retraining import ensemble_summary
from search.spaces.records import described
from search.study.provenance import VERSIONED
from search.study.snapshot import STATES, Snapshot, TrialView
from storage.tables import ModelRow

if TYPE_CHECKING:
    from markupsafe import Markup

Drawn = Sequence[tuple[Chart, "Markup"]]
"""Charts, each with its SVG element."""


@dataclass(frozen=True)
class Charts:
    """The charts of each section."""

    search: Drawn
    slices: Drawn
    model: Drawn
    claims: Drawn
    space: Drawn


@dataclass(frozen=True)
class Tile:
    """A large figure with label and note."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Parameter:
    """A parameter of the best trial beside that of the documents' run 10, if that has it."""

    name: str
    value: str
    documented: str | None


@dataclass(frozen=True)
class EnsembleTable:
    """The ensemble beside the best single model; empty if there is none."""

    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The content of a study report.

    Attributes:
        study: The study.
        charts: The charts of each section.
        nothing: Why there is no best trial; empty if there is one.
        tiles: The best results, the most important first.
        beside: Comparisons for the tiles, and what is missing for them.
        parameters: The best trial's parameters.
        advice: What to try next.
        begun: Number of trials with a figure.
        enough: Least such number for parameter importance.
        test_accuracy: The retrained model's, with its interval; empty if there is no such model.
        ensemble: The ensemble beside the best single model.
        classes: Precision, recall and F1 of each class on the test images, as text.
        verdicts: Verdicts on the claims.
        settling: The command that trains what they lack.
        ranked: The trials, best first.
        commands: Commands that repeat the study.
        mixed: What earlier searches used other versions of.
        provenance: Images, space and versions by name.
    """

    study: Snapshot
    charts: Charts
    nothing: str
    tiles: Sequence[Tile]
    beside: Sequence[Advice]
    parameters: Sequence[Parameter]
    advice: Sequence[Advice]
    begun: int
    enough: int
    test_accuracy: str
    ensemble: EnsembleTable
    classes: Sequence[Sequence[str]]
    verdicts: Sequence[ClaimVerdict]
    settling: str
    ranked: Sequence[TrialView]
    commands: Sequence[str]
    mixed: Sequence[str]
    provenance: Mapping[str, str]


def report_of(snapshot: Snapshot, verdicts: Sequence[ClaimVerdict], charts: Charts) -> Report:
    """Gather the content of a study's report."""
    model = snapshot.retrained
    told = "" if model is None else told_share(model.test_accuracy, _images(snapshot))
    return Report(
        study=snapshot,
        charts=charts,
        nothing=_nothing(snapshot),
        tiles=list(_tiles(snapshot)),
        beside=list(_beside(snapshot)),
        parameters=list(_parameters(snapshot)),
        advice=advice(snapshot),
        begun=sum(trial.best is not None for trial in snapshot.trials),
        enough=space_charts.ENOUGH,
        test_accuracy=told,
        ensemble=_ensemble(snapshot),
        classes=[] if snapshot.tested is None else snapshot.tested.class_rows(),
        verdicts=verdicts,
        settling=of_study("claims --settle", snapshot.study),
        ranked=sorted(snapshot.trials, key=lambda t: (t.value, STATES.index(t.state))),
        commands=_commands(snapshot),
        mixed=_mixed(snapshot),
        provenance=_provenance(snapshot),
    )


def _ensemble(snapshot: Snapshot) -> EnsembleTable:
    record = snapshot.ensemble
    if record is None:
        return EnsembleTable()
    return EnsembleTable(
        headings=("model", *ensemble_summary.headings(record)),
        rows=[
            (model.title, *ensemble_summary.figures(model, record))
            for model in ensemble_summary.compared(record)
        ],
        lines=[*ensemble_summary.verdict(record), ensemble_summary.TIMES],
    )


def _images(snapshot: Snapshot) -> int | None:
    """Number of images that the retrained model was tested on, if stored."""
    return None if snapshot.tested is None else snapshot.tested.images


def _tiles(snapshot: Snapshot) -> Iterator[Tile]:
    best = snapshot.best
    if snapshot.retrained is not None:
        label = "test accuracy of the retrained model"
        yield _tile_of(snapshot.retrained, _images(snapshot), label)
    if best is not None and best.best is not None:
        yield Tile(
            "validation accuracy of the best trial",
            f"{best.best.val_accuracy:.4f}",
            f"trial {best.number}, at epoch {best.best.epoch} of {len(best.history)}; "
            f"{told_objective(best.value, snapshot.recipe.monitor)}",
        )
    if snapshot.baseline is not None:
        label = "test accuracy of the documents' run 10, trained here"
        yield _tile_of(snapshot.baseline, snapshot.baseline_images, label)
    if snapshot.cifar10:
        yield Tile(
            "test accuracy in the documents",
            f"{BEST_TEST_ACCURACY:.4f}",
            "the last of ten runs by hand, on CIFAR-10",
        )


def _tile_of(model: ModelRow, images: int | None, label: str) -> Tile:
    epochs = f"{model.epochs} epochs" + (" in total" if model.kind == "ensemble" else "")
    note = f"{model.title}, {model.parameters:,} parameters, {epochs}"
    if images:
        low, high = of_share(model.test_accuracy, images)
        note += f"; 95 % interval {low:.4f} to {high:.4f}"
    return Tile(label, f"{model.test_accuracy:.4f}", note)


def _nothing(snapshot: Snapshot) -> str:
    if snapshot.best is not None:
        return ""
    if not snapshot.trials:
        return "No trial has started yet."
    if len(snapshot.of_state("failed")) == len(snapshot.trials):
        return "Every trial failed; the reasons are in the table below."
    return "No trial has finished an epoch yet."


def _beside(snapshot: Snapshot) -> Iterator[Advice]:
    """Comparisons for the figures, and what is missing for them; ``advice`` has most commands."""
    model, baseline, tested = snapshot.retrained, snapshot.baseline, snapshot.tested
    if model is None:
        yield Advice("No trial is retrained in full and tested on the test images yet.")
    if model is not None and tested is not None:
        told = told_share(model.test_accuracy, tested.images)
        line = f"The retrained model's accuracy on the test images is {told}."
        if snapshot.cifar10:
            low, high = of_share(model.test_accuracy, tested.images)
            within = low <= BEST_TEST_ACCURACY <= high
            beside = _by(model.test_accuracy - BEST_TEST_ACCURACY, within=within)
            line += f" That is {beside} the documents' {BEST_TEST_ACCURACY}."
        yield Advice(line)
    if snapshot.best is not None and snapshot.best.best is not None and snapshot.validation_images:
        told = told_if_wide(snapshot.best.best.val_accuracy, snapshot.validation_images)
        if told:
            yield Advice(
                f"The validation images are few: {told}. To compare the best trials on several "
                "splits:",
                of_study("retrain-best --folds 5", snapshot.study),
            )
    if not snapshot.cifar10:
        data = snapshot.recipe.images.name
        yield Advice(
            f"The images are {data}, not CIFAR-10: the documents' figures do not apply to them."
        )
    if baseline is None:
        yield Advice("The documents' run 10 is not trained on these images yet.")
    elif model is not None:
        by = model.test_accuracy - baseline.test_accuracy
        shorter = snapshot.baseline_epochs
        of_them = "" if shorter is None else f" for at most {plural(shorter, 'epoch')}"
        yield Advice(
            f"The retrained model's test accuracy differs by {by:+.4f} from that of run 10, "
            f"trained here on the same images{of_them}."
        )


def _by(difference: float, *, within: bool) -> str:
    if within:
        return f"{difference:+.4f}, within the interval, so neither better nor worse than"
    return f"{abs(difference):.4f} {'more' if difference > 0 else 'less'} than"


def _parameters(snapshot: Snapshot) -> Iterator[Parameter]:
    documented = snapshot.documented or {}
    for name, value in () if snapshot.best is None else snapshot.best.params.items():
        theirs = _shown(documented[name]) if name in documented else None
        yield Parameter(name, _shown(value), theirs)


def _commands(snapshot: Snapshot) -> list[str]:
    commands = dict.fromkeys(
        search_command(snapshot.study, snapshot.recipe, by) for by in snapshot.openings
    )
    if snapshot.retrained is not None:
        commands[retrain_command(snapshot.retrained, snapshot.retraining_record)] = None
    return list(commands)


def _mixed(snapshot: Snapshot) -> list[str]:
    versions_of = {
        name: {by.versions.get(name, "") for by in snapshot.openings} for name in VERSIONED
    }
    return [name for name, versions in versions_of.items() if len(versions) > 1]


def _provenance(snapshot: Snapshot) -> dict[str, str]:
    recipe, versions = snapshot.recipe, snapshot.openings[-1].versions
    return {
        "images": recipe.images.name,
        "fingerprint": recipe.images.fingerprint,
        "space": described(recipe.space),
        "classes": ", ".join(snapshot.classes),
        **_warm_start(snapshot),
        **{name: versions[name] for name in VERSIONED if name in versions},
    }


def _warm_start(snapshot: Snapshot) -> dict[str, str]:
    """How far recorded curves are trusted, if the study started from any."""
    trusted = sorted(snapshot.trusted.items(), key=lambda source: -source[1])
    told = (f"{name}: trusted {share:.0%}" for name, share in trusted)
    return {"warm start": "; ".join(told)} if snapshot.trusted else {}


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
