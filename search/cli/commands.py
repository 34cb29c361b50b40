"""The command line: `treino search`, and what comes before and after it.

Importing this module imports neither TensorFlow nor Optuna: `treino --help` answers at once.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.options import Commands, explained, from_file, with_settings
from search.console.outputs import BROKEN_PIPE, OutputError, drop, flushed
from search.console.terminal import (
    aside,
    console,
    fault,
    in_utf8,
    leave_if_interrupted,
    load_images,
    print_json,
    printable,
    progress_bar,
    say,
    take_any_text,
)
from search.errors import EXIT_ERROR, EXIT_USAGE, SettingsError, TreinoError
from search.interruption import CtrlC
from search.settings import Settings

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Search for a good image classifier, look at the search, train its best in full.",
)

DATA = ("data", "image_size", "skip_bad_images", "images", "seed")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]

Out = Annotated[
    Path | None, typer.Option(help="Folder to write to [default: in the study's folder].")
]


@app.command()
@with_settings(
    *DATA,
    *(
        "study",
        "storage",
        "trials",
        "budget_epochs",
        "epochs",
        "workers",
        "timeout",
        "stop_when_flat",
        "sampler",
        "prior",
        "pruner",
        "space",
    ),
    *("monitor", "train_order", "augment", "precision", "early_stopping"),
    *("documented", "keep", "audit", "max_params"),
)
def search(settings: Settings) -> None:
    """Run a study, or go on with it, until it has its trials or its budget."""
    data = load_images(settings).dataset
    from search.reports import dashboard_notes
    from search.study.workspace import Workspace
    from search.tuning import audit, messages
    from search.tuning import run as launch

    with Workspace.open(settings, write=True) as place:
        searched = launch.search(
            place, settings, data, observers=[dashboard_notes.DashboardNotes()]
        )
        asked = searched.interruption.asked
        study, outcome = searched.study, searched.outcome
        for line in messages.closing(study, outcome, place.layout, interrupted=asked):
            say(line)
        if searched.audited is not None:
            for line in audit.told(study, searched.audited):
                say(line)
        elif settings.audit and not asked and not outcome.trouble:
            say("audit: no time left for it; a longer --timeout, or none, makes room")
        untrained = messages.untrained(study)
    if outcome.trouble:
        raise TreinoError(f"the search had to stop: {outcome.trouble}")
    leave_if_interrupted(searched.interruption)
    if not outcome.trained:
        raise TreinoError(untrained)


@app.command()
@with_settings(
    *DATA, "study", "storage", "epochs", "workers", "timeout", "space", "train_order", "max_params"
)
def record(
    settings: Settings,
    configurations: Annotated[int, typer.Option(help="How many to train.", min=1)] = 60,
    out: Annotated[
        Path | None, typer.Option(help="File of the curves [default: in the study's folder].")
    ] = None,
) -> None:
    """Train configurations drawn at random, each in full, and keep their curves for replays."""
    data = load_images(settings).dataset
    from search.reports import dashboard_notes
    from search.scheduling import curves
    from search.study import recorded_curves
    from search.study.workspace import Workspace
    from search.tuning import messages
    from search.tuning import run as launch

    settings = replace(
        settings,
        trials=configurations,
        sampler="random",
        pruner="none",
        early_stopping=False,
        documented=False,
        keep=0,
    )
    with Workspace.open(settings, write=True) as place:
        searched = launch.search(
            place, settings, data, ending="-curves", observers=[dashboard_notes.DashboardNotes()]
        )
        found = recorded_curves.of_study(searched.study, place.records)
        if found is not None:
            file = out or place.layout.curves(searched.study.study_name)
            curves.write(found, file)
            done = len(found.configurations)
            say(f"{done} of {configurations} configurations recorded in {file}")
        untrained = messages.untrained(searched.study)
    if searched.outcome.trouble:
        raise TreinoError(f"the recording had to stop: {searched.outcome.trouble}")
    leave_if_interrupted(searched.interruption)
    if not searched.outcome.trained:
        raise TreinoError(untrained)


@app.command()
@with_settings(*DATA, "storage", "train_order", "baseline_epochs")
def baseline(
    settings: Settings,
    run: Annotated[str, typer.Argument(help="A run of the documents: run-1, run-4, …, run-10.")],
    as_json: AsJson = False,
) -> None:
    """Train one of the documents' runs as it stands, and put it on the leaderboard."""
    from models.documented import DOCUMENTED, are_of_cifar10

    if run not in DOCUMENTED:
        raise SettingsError(f"no documented run {run!r}; there are: {', '.join(DOCUMENTED)}")
    data = load_images(settings, as_json=as_json).dataset
    from search.retraining.delivery import workshop
    from search.scheduling.samplers import training_seed
    from search.study.names import BASELINES
    from search.study.training_order import Order
    from search.study.trials import history
    from search.study.workspace import Workspace
    from search.tuning import messages

    documented = DOCUMENTED[run]
    changes: dict[str, Any] = {"train_order": settings.train_order}
    if settings.baseline_epochs is not None:
        changes["epochs"] = settings.baseline_epochs
    order = Order(
        study=BASELINES,
        kind="baseline",
        name=run,
        title=f"{run} trained here",
        model=documented.model,
        training=documented.training.model_copy(update=changes),
        seed=training_seed(settings.seed),
    )
    with (
        Workspace.open(settings, write=True) as place,
        workshop(place, BASELINES, aside=as_json) as (shop, interruption),
    ):
        files = place.layout.run(BASELINES, order.run(data))
        row = shop.make(order, data, files)
        trained = history(place.records, BASELINES, order.run(data))
    images, cifar10 = len(data.test.labels), are_of_cifar10(data.classes)
    if row is not None and as_json:
        print_json(messages.as_values(row, images) | {"history": [e.to_dict() for e in trained]})
    elif row is not None:
        for line in messages.beside(documented, trained) if cifar10 else ():
            say(line)
        say(messages.of_baseline(documented, row, images, files.folder, cifar10=cifar10))
    leave_if_interrupted(interruption, as_json=as_json)


@app.command("retrain-best")
@with_settings("study", "storage", "workers", "retrain_epochs")
def retrain_best(
    settings: Settings,
    top: Annotated[int, typer.Option(help="How many of the best trials to train.", min=1)] = 1,
    seeds: Annotated[int, typer.Option(help="Seeds to train each with.", min=1, max=1000)] = 1,
    as_json: AsJson = False,
) -> None:
    """Train the study's best trials in full, compare them, and hand the best model over."""
    from search.reports import dashboard_notes
    from search.retraining import retrain
    from search.retraining.delivery import workshop
    from search.study.workspace import Workspace, data_of, is_of_cifar10, space_of
    from search.tuning import messages
    from search.workers.hardware import slots

    with Workspace.open(settings, write=True) as place:
        study = place.study(settings.study)
        with progress_bar() as progress:
            data = data_of(study, progress)
        orders = retrain.orders_of_best(
            study, space_of(study), epochs=settings.retrain_epochs, top=top, seeds=seeds
        )
        need = retrain.memory_needed(orders, data)
        workers = min(len(orders), settings.workers or len(slots(0, need)))
        with workshop(place, study.study_name, workers=workers, aside=as_json) as (
            shop,
            interruption,
        ):
            report = retrain.retrain(shop, study, data, place.layout, orders)
        best = place.layout.best(study.study_name)
        if report is not None:
            dashboard_notes.attach_unless_searched(place, study)
        images, cifar10 = len(data.test.labels), is_of_cifar10(study)
    if report is not None and as_json:
        print_json(
            messages.as_values(report.model, images)
            | {"retrained": [asdict(each) for each in report.configurations]}
            | {"rank_flips": report.flips, "lead": report.lead, "interval": report.interval}
        )
    elif report is not None:
        if len(orders) > 1:
            console().print(retrain.table(report))
            for line in retrain.verdict(report):
                say(line)
        say(messages.handed_over(report.model, images, best.folder, cifar10=cifar10))
    leave_if_interrupted(interruption, as_json=as_json)


@app.command()
@with_settings("study", "storage")
def leaderboard(settings: Settings, as_json: AsJson = False) -> None:
    """Show trials, baselines, retrained models and the documents' figures in one table."""
    from search.reports import leaderboard as board
    from search.study.workspace import Workspace

    with Workspace.open(settings, write=False) as place:
        study = place.study(settings.study) if settings.study else place.newest_study()
        title = f"study {study.study_name}" if study else "baselines"
        found = board.rows(study, place.records, place.layout)
    if not found:
        raise TreinoError("nothing was trained yet: run `make search` first")
    if as_json:
        print_json([asdict(row) for row in found])
        return
    console().print(board.table(found, title))


@app.command()
@with_settings("study", "storage", "workers", "settle_epochs")
def claims(
    settings: Settings,
    names: Annotated[
        list[str] | None, typer.Argument(help="Claims to settle, by name; all by default.")
    ] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="First train the pairs that the claims lack.")
    ] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Put the documents' claims to the test: verdicts, figures, and what would settle them."""
    from search.claims import pairing, plots, text
    from search.claims.catalog import CLAIMS
    from search.claims.collect import settler
    from search.claims.verdicts import judge
    from search.study.workspace import Workspace, data_of, space_of
    from storage.files import folder_to_write

    known = {claim.name: claim for claim in CLAIMS}
    for name in names or ():
        if name not in known:
            raise SettingsError(f"no claim {name!r}; there are: {', '.join(known)}")
    if (names or settings.settle_epochs is not None) and not settle:
        raise SettingsError("names of claims and --budget-epochs go with --settle")
    interruption = None
    failed: list[str] = []
    with Workspace.open(settings, write=settle) as place:
        study = place.study(settings.study)
        if settle:
            with progress_bar() as progress:
                data = data_of(study, progress)
            with settler(
                place,
                study,
                space_of(study),
                data,
                claims=[known[name] for name in names or known],
                workers=settings.workers,
                epochs=settings.settle_epochs,
                aside=as_json,
            ) as work:
                interruption = work.session.interruption
                work.run()
                failed = work.failed
        view = pairing.view_of(study, place.records)
        verdicts = judge(view)
        files = {name: place.layout.claims(study.study_name, name) for name in known}
        own = next(iter(files.values())).parent
        folder = out or folder_to_write(own)
        _say_where(folder, out or own)
        files = {name: folder / file.name for name, file in files.items()}
    for verdict in verdicts:
        plots.draw(verdict, view, files[verdict.claim.name])
    if as_json:
        found = [v.to_dict() | {"figure": str(files[v.claim.name])} for v in verdicts]
        print_json(found)
    else:
        screen = console()
        for line in text.paragraphs(verdicts, view, files):
            screen.print(line, soft_wrap=True)
    if interruption is not None:
        leave_if_interrupted(interruption)
    if failed:
        raise TreinoError(
            f"{len(failed)} trainings failed, so their pairs are missing; the first: {failed[0]}"
        )


@app.command()
@with_settings("study", "storage")
def report(settings: Settings, out: Out = None) -> None:
    """Write a page about the study, with its figures: what is best, why, what to try next."""
    from search.reports import report
    from search.study.workspace import Workspace
    from search.workers.hardware import cores

    with Workspace.open(settings, write=False) as place:
        study = place.study(settings.study)
        path = report.write(place, study, cores(), out)
        _say_where(path.parent, out or place.layout.report(study.study_name))
    say(f"report: {path} (figures beside it as PNG and SVG)")


@app.command()
@with_settings()
def predict(
    _settings: Settings,
    model: Annotated[Path, typer.Argument(help="A handed-over model, or its folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes to tell of each image [default: 1; all with --json]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify images: probability, class and file, a line each."""
    # A few images are not worth the memory of a GPU that a search may be using.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from search.predict import Classifier, image_files

    files = image_files(images)
    classifier = Classifier(model)
    found, bad = [], 0
    for image in classifier.classify(files):
        best = classifier.best(image, top if top or as_json else 1)
        if image.fault:
            bad += 1
            fault(f"{image.path}: {image.fault}", EXIT_ERROR)
        for name, probability in () if as_json else best:
            say(f"{probability:.4f}\t{printable(name)}\t{printable(image.path)}")
        classes = [{"class": name, "probability": round(p, 6)} for name, p in best]
        found.append({"image": str(image.path), "classes": classes, "fault": image.fault or None})
    if as_json:
        print_json(found)
    if bad:
        raise typer.Exit(EXIT_ERROR)


@app.command()
@with_settings("storage", "host", "port", "writable", "allow_host")
def dashboard(settings: Settings) -> None:
    """Show the studies in optuna-dashboard, on this machine alone and read-only."""
    from search.reports.dashboard import serve
    from search.study.workspace import Workspace

    with Workspace.open(settings, write=settings.writable) as place:
        serve(
            place.storage,
            place.layout.artifacts,
            host=settings.host,
            port=settings.port,
            writable=settings.writable,
            allowed=settings.allow_host,
            announce=say,
        )


@app.command("data")
@with_settings(*DATA)
def show_data(settings: Settings, as_json: AsJson = False) -> None:
    """Say which images a search would use, and what is wrong with them."""
    data = load_images(settings, as_json=as_json).dataset
    from search.reports import listings

    if as_json:
        print_json(listings.images(data))
    else:
        console().print(listings.table_of_images(data))


@app.command()
@with_settings("storage")
def studies(settings: Settings, as_json: AsJson = False) -> None:
    """List the studies."""
    from search.reports import listings
    from search.study.workspace import Workspace
    from storage.study import summaries

    with Workspace.open(settings, write=False) as place:
        found = summaries(place.storage)
    if not found:
        raise TreinoError("there is no study yet: run `make search` first")
    if as_json:
        print_json([asdict(row) for row in found])
    else:
        console().print(listings.table_of_studies(found))


@app.command()
@with_settings("study", "storage", "workers")
def replay(
    settings: Settings,
    lcbench: Annotated[
        Path | None, typer.Option(help="Folder with the surrogate of LCBench.")
    ] = None,
    curves: Annotated[
        list[Path] | None, typer.Option(help="File of recorded curves; may be given again.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks of LCBench, by commas.")] = "",
    strategies: Annotated[
        str, typer.Option(help="Ways to search, by commas; own, peers or all of them.")
    ] = "own",
    seeds: Annotated[int, typer.Option(help="Seeds of each on each task.", min=1, max=100_000)] = 4,
    as_json: AsJson = False,
) -> None:
    """Compare ways to search on learning curves that are known, with simulated workers.

    On LCBench, on files of recorded curves, or else on the whole trainings of a study.
    """
    from search.replay import task_sources as known
    from search.replay.peers import chosen
    from search.replay.replay import compare, printed
    from search.workers.hardware import cores

    wanted = chosen(strategies)
    if lcbench is not None and curves:
        raise SettingsError("--lcbench and --curves: expected one of them")
    if tasks and lcbench is None:
        raise SettingsError(f"--tasks {tasks}: expected --lcbench with it, whose tasks they are")
    if lcbench is not None:
        where = known.of_lcbench(lcbench, tasks.split(",") if tasks else ())
    elif curves:
        where = known.of_files(curves)
    else:
        where = known.of_study(settings)
    total = len(wanted) * len(where) * seeds
    with progress_bar() as progress:
        finished = iter(range(1, total + 1))
        results = compare(
            where,
            wanted,
            seeds=seeds,
            workers=settings.workers or 1,
            processes=cores(),
            done=lambda: progress("replays", next(finished), total),
        )
    say(printed(results, as_json=as_json))


def _say_where(folder: Path, wanted: Path) -> None:
    """Say why files are in another folder than people expect, if they are."""
    if folder != wanted:
        line = f"{wanted} may not be written: the files are in {folder}; --out names another"
        aside(f"treino: warning: {printable(line)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every fault that has a name becomes one line on stderr."""
    with CtrlC() as ctrl_c:
        if arguments is None:  # the program itself, not a call from another
            in_utf8()
        take_any_text()
        try:
            code = flushed(_run(arguments))
        except BrokenPipeError:
            code = BROKEN_PIPE
        except OutputError as error:
            drop()
            code = fault(f"standard output cannot be written: {error.strerror}", EXIT_ERROR)
        except BaseException:
            if not ctrl_c.came:
                raise
            code = CtrlC.EXIT
    sys.exit(CtrlC.EXIT if ctrl_c.came and code else code)  # a server's end by Ctrl-C is a good one


def _run(arguments: Sequence[str] | None) -> int:
    command = typer.main.get_command(app)
    # Typer brings its own copy of click's exceptions and exports only some of them.
    usage_error: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        Path.cwd()
    except OSError as error:
        return fault(f"the working folder cannot be used: {error.strerror}", EXIT_ERROR)
    try:
        names = [
            info.name or str(info.callback and info.callback.__name__)
            for info in app.registered_commands
        ]
        result = command.main(
            arguments,
            prog_name="treino",
            standalone_mode=False,
            default_map=from_file(Path(), names),
        )
    except usage_error as error:
        return fault(explained(error), EXIT_USAGE)
    except typer.Abort:
        return CtrlC.EXIT
    except SettingsError as error:
        return fault(str(error), EXIT_USAGE)
    except TreinoError as error:
        return fault(str(error), EXIT_ERROR)
    except Exception as error:
        if not _is_ours(error):
            raise
        return fault(str(error), EXIT_ERROR)
    return result if isinstance(result, int) else 0


def _is_ours(error: Exception) -> bool:
    """Whether an error is one of those in the tree of search/errors.py.

    The packages below search are only imported once a command needs them: what was not imported
    cannot have raised it.
    """
    places = {
        "data.dataset": "DataError",
        "storage.engine": "StorageError",
        "models.spec": "SpecError",
        "search.reports.dashboard": "DashboardError",
    }
    return any(
        isinstance(error, getattr(sys.modules[module], name))
        for module, name in places.items()
        if module in sys.modules
    )
