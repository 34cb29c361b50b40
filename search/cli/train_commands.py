"""`treino baseline` and `treino retrain-best`."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from search.cli.common import AsJson
from search.cli.options import with_settings
from search.console.terminal import (
    console,
    leave_if_interrupted,
    load_images,
    print_json,
    progress_bar,
    say,
)
from search.errors import NothingToTrainError, SettingsError
from search.settings import DATA, Settings

SEVERAL = 3  # trials that an ensemble is made of or folds compare, if no --top or --seeds says


@with_settings(*DATA, "storage", "storage_patience", "cluster", "train_order", "baseline_epochs")
def baseline(
    settings: Settings,
    run: Annotated[str, typer.Argument(help="Run of the documents: run-1, run-4, …, run-10.")],
    as_json: AsJson = False,
) -> None:
    """Train one of the documents' runs unchanged, and add it to the leaderboard."""
    from models.documented import DOCUMENTED, are_of_cifar10

    if run not in DOCUMENTED:
        raise SettingsError(f"unknown run {run!r}; expected one of {', '.join(DOCUMENTED)}")
    data = load_images(settings, as_json=as_json).dataset
    from search.retraining.delivery import workshop
    from search.scheduling.seeds import training_seed
    from search.study.names import BASELINES
    from search.study.training_order import TrainingOrder
    from search.study.trials import history
    from search.study.workspace import Workspace
    from search.tuning import messages
    from search.workers.resources import Need, resources

    documented = DOCUMENTED[run]
    changes: dict[str, Any] = {"train_order": settings.train_order}
    if settings.baseline_epochs is not None:
        changes["epochs"] = settings.baseline_epochs
    order = TrainingOrder(
        study=BASELINES,
        kind="baseline",
        name=run,
        title=f"{run} trained here",
        model=documented.model,
        training=documented.training.model_copy(update=changes),
        seed=training_seed(settings.seed),
    )
    workers = resources(settings.cluster, 1, Need(data))
    with Workspace.open(settings, write=True) as workspace:
        data = workspace.as_studied(settings, data)
        with workshop(workspace, BASELINES, workers, aside=as_json) as (shop, interruption):
            files = workspace.layout.run(BASELINES, order.run(data))
            row = shop.make(order, data, files)
            epochs = history(workspace.records, BASELINES, order.run(data))
    images, cifar10 = len(data.test.labels), are_of_cifar10(data.classes)
    if row is not None and as_json:
        print_json(messages.as_values(row, images) | {"history": [e.to_dict() for e in epochs]})
    elif row is not None:
        for line in messages.beside(documented, epochs) if cifar10 else ():
            say(line)
        say(messages.of_baseline(documented, row, images, files.folder, cifar10=cifar10))
    leave_if_interrupted(interruption, as_json=as_json)


@with_settings("study", "storage", "storage_patience", "workers", "cluster", "retrain_epochs")
def retrain_best(
    settings: Settings,
    top: Annotated[
        int | None,
        typer.Option(
            help=f"Number of best trials to train [default: 1, or {SEVERAL} with --folds, or with "
            "--ensemble and one seed].",
            min=1,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds per trial.", min=1, max=1000)] = 1,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Also average the trained models, and deliver the average if its monitored "
            "figure is better.",
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="First train the best trials on so many splits of the images, and deliver the "
            "one with the best mean [default: the study's own split].",
            min=2,
            max=100,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Train the best trials that fit a condition, such as 'parameters < 300_000 and "
            "val_loss <= 0.9' [default: the best of all].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the best trials of the study in full, compare them, and deliver the best model."""
    top = top or (SEVERAL if folds or (ensemble and seeds == 1) else 1)
    if ensemble and folds:
        raise SettingsError(
            "--ensemble --folds: expected one of them: folds choose one trial, and an ensemble "
            "needs several"
        )
    if ensemble and top * seeds == 1:
        raise SettingsError(
            "--ensemble: expected at least two models, and --top 1 trains one: use --top 2, or "
            "--seeds 2"
        )
    from search.reports import dashboard_notes
    from search.retraining import comparison, ensemble_summary, retrain
    from search.retraining import folds as cross_validation
    from search.retraining.condition import fitting
    from search.retraining.delivery import workshop
    from search.study.recipe import recipe_of
    from search.study.retraining_record import RetrainingRecord
    from search.study.trial_figures import figures_of_trials
    from search.study.workspace import Workspace, data_of, space_of
    from search.tuning import messages
    from search.workers.resources import resources

    with Workspace.open(settings, write=True) as workspace:
        study = workspace.study(settings.study)
        with progress_bar() as progress:
            data = data_of(study, progress)
        space, epochs = space_of(study), settings.retrain_epochs
        among = None
        if where is not None:
            among = fitting(where, figures_of_trials(study, workspace.records, space))
        orders = retrain.orders_of_best(
            study, space, epochs=epochs, top=top, seeds=seeds, among=among
        )
        on_folds = []
        if folds:
            firsts = retrain.orders_of_best(study, space, epochs=epochs, top=top, among=among)
            on_folds = cross_validation.on_folds(firsts, data, folds, recipe_of(study).seed)
        if ensemble and len(orders) == 1:
            raise NothingToTrainError(
                f"--ensemble: expected at least two models, and study {study.study_name!r} has one "
                "trial to retrain: add --seeds 2, or resume the search first (make search)"
            )
        need = retrain.need_of(max(orders, on_folds, key=len), data)
        workers = resources(settings.cluster, settings.workers, need)
        with workshop(workspace, study.study_name, workers, aside=as_json) as (
            shop,
            interruption,
        ):
            made = validated = None
            if on_folds:
                validated = cross_validation.cross_validate(shop.session, on_folds, data)
            if validated is not None:
                orders = retrain.orders_of_best(
                    study, space, epochs=epochs, seeds=seeds, among=[validated.best]
                )
            if validated is not None or not on_folds:
                record = RetrainingRecord(
                    epochs=epochs, top=top, seeds=seeds, ensemble=ensemble, folds=folds, where=where
                )
                made = retrain.retrain(shop, study, data, workspace.layout, orders, record)
        best = workspace.layout.best(study.study_name)
        if made is not None:
            dashboard_notes.attach_unless_searched(workspace, study)
        images, cifar10 = len(data.test.labels), recipe_of(study).images.of_cifar10
    if made is not None and as_json:
        report = made.report
        print_json(
            messages.as_values(made.model, images)
            | {"retrained": [asdict(each) for each in report.configurations]}
            | {"rank_flips": report.flips, "lead": report.lead, "interval": report.interval}
            | {"ensemble": made.ensemble and made.ensemble.model_dump(mode="json")}
            | {"folds": [asdict(each) for each in validated.trials] if validated else None}
        )
    elif made is not None:
        if validated is not None:
            console().print(cross_validation.table(validated))
            for line in cross_validation.verdict(validated):
                say(line)
        if len(orders) > 1:
            console().print(comparison.table(made.report))
            for line in comparison.verdict(made.report):
                say(line)
        if made.ensemble is not None:
            console().print(ensemble_summary.table(made.ensemble))
            for line in ensemble_summary.verdict(made.ensemble):
                say(line)
        say(messages.handed_over(made.model, images, best.folder, cifar10=cifar10))
    leave_if_interrupted(interruption, as_json=as_json)
