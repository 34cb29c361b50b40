"""Makes an ensemble of retrained models, and measures it beside the best single model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from models.history import OF_PREDICTIONS
from models.spec import OwnSpec
from search.console.text import plural
from search.protocol import TestFigures
from search.retraining.delivery import write_test_results
from search.retraining.ensemble import Array, predictions_and_losses, select
from search.retraining.ensemble_summary import name_of
from search.study.ensemble_record import (
    EnsembleCandidate,
    EnsembleRecord,
    MeasuredModel,
    read_ensemble,
)
from search.study.provenance import document_of_ensemble
from search.study.training_order import TrainingOrder
from search.tuning.session import Session
from search.workers.ensemble_process import Candidate, EnsembleOrder, Measured, started
from storage.files import RunFiles, write_atomically
from storage.tables import ModelRow

MOST_NAMED = 5  # most trials that a title names


@dataclass(frozen=True)
class Ensemble:
    """An ensemble beside the best single model.

    Attributes:
        record: The results.
        row: The ensemble as recorded; None if there is none.
    """

    record: EnsembleRecord
    row: ModelRow | None


def make_ensemble(
    session: Session,
    data: Dataset,
    orders: Sequence[TrainingOrder],
    trained: Sequence[tuple[TrainingOrder, ModelRow]],
    single: ModelRow,
) -> Ensemble | None:
    """Select an ensemble by the monitored figure, write and record it, and test it once.

    Args:
        session: The study's resources.
        data: The images.
        orders: What was to be trained, as of ``search.retraining.retrain.orders_of_best``.
        trained: The models that were, with what they were trained by; at least one.
        single: The best of them, which it is compared with.

    Returns:
        The ensemble, as it is stored if it was made of the same models before; None if the user
        interrupted. The same call begins again.

    Raises:
        TrainingFailedError: A model cannot be loaded, or the process that averages them died.
        StorageError: A file cannot be written.
    """
    run = _run_of([row for _, row in trained])
    paths = session.workspace.layout.run(session.study, run)
    monitor = orders[0].training.monitor
    made_before = _already_made(session, trained, single, paths, run, monitor)
    if made_before is not None:
        session.display.say("ensemble: already made of the same models")
        return made_before

    def keep_waiting() -> bool:
        session.renew()
        return not session.interruption.asked

    def classified(count: int) -> None:
        say(f"ensemble: classified {images} with {count} of {models}")

    say = session.display.say
    images = plural(len(data.validation.labels), "validation image")
    models = plural(len(trained), "model")
    say(f"ensemble: selecting from {models} by {name_of(monitor)}")
    candidates = [_candidate(session, *each) for each in trained]
    log = session.workspace.layout.logs(session.study) / "ensemble.log"
    with started(candidates, data.path, log, keep_waiting) as process:
        probabilities = process.probabilities(classified)
        if probabilities is None:
            return None
        labels = np.asarray(data.validation.labels)
        predictions, losses = predictions_and_losses(probabilities, labels, monitor)

        def losses_in_turn(averages: Array) -> Array:
            keep_waiting()  # a selection by a figure of many images takes long
            return losses(averages)

        selection = select(predictions, losses_in_turn)
        # A single member is no ensemble.
        counts = selection.counts if len(selection.members) > 1 else (0,) * len(trained)
        if any(counts):
            members = plural(len(selection.members), "model")
            say(f"ensemble: testing the average of {members} on {images} and the test images")
        index = [row.run for _, row in trained].index(single.run)
        combined = process.carry_out(EnsembleOrder(index, counts, paths.model, monitor))
    if combined is None:
        return None
    rows = [row for _, row in trained]
    made = ensemble = None
    if combined.ensemble is not None and combined.test is not None:
        made = _row(data, orders, trained, counts, combined.ensemble, combined.test, paths, run)
        write_atomically(paths.spec, made.spec)
        write_test_results(combined.test, data, paths, f"{made.study}, {made.title}")
        session.workspace.records.record_model(made)
        ensemble = _as_measured(made, combined.ensemble, monitor)
    record = EnsembleRecord(
        candidates=tuple(map(_as_candidate, rows, counts)),
        single=_as_measured(single, combined.single, monitor),
        ensemble=ensemble,
        test_images=len(data.test.labels),
        monitor=monitor,
    )
    # The last file: with it, the ensemble is complete.
    write_atomically(paths.ensemble, record.to_json())
    return Ensemble(record, made)


def _run_of(rows: Sequence[ModelRow]) -> str:
    """Name of the ensemble, which changes with the models that it is selected from."""
    text = "\n".join(sorted(row.run for row in rows))
    return f"ensemble-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _already_made(
    session: Session,
    trained: Sequence[tuple[TrainingOrder, ModelRow]],
    single: ModelRow,
    paths: RunFiles,
    run: str,
    monitor: str,
) -> Ensemble | None:
    """The ensemble of these models, if it is complete and none was trained again since."""
    record = read_ensemble(paths)
    if record is None or (record.single.run, record.monitor) != (single.run, monitor):
        return None
    now = {(row.run, row.val_loss, row.test_loss) for _, row in trained}
    if {(c.run, c.val_loss, c.test_loss) for c in record.candidates} != now:
        return None
    if record.ensemble is None:
        return Ensemble(record, None)
    for row in session.workspace.records.models(session.study):
        whole = paths.model.is_file() and paths.spec.is_file()
        if row.run == run and whole and paths.spec.read_text(encoding="utf-8") == row.spec:
            return Ensemble(record, row)
    return None


def _candidate(session: Session, order: TrainingOrder, row: ModelRow) -> Candidate:
    file = session.workspace.layout.run(row.study, row.run).model
    if isinstance(order.model, OwnSpec) and _custom_objects(row):
        return Candidate(row.title, file, order.model)
    return Candidate(row.title, file)


def _row(
    data: Dataset,
    orders: Sequence[TrainingOrder],
    trained: Sequence[tuple[TrainingOrder, ModelRow]],
    counts: Sequence[int],
    measured: Measured,
    test: TestFigures,
    paths: RunFiles,
    run: str,
) -> ModelRow:
    members = [(row, count) for (_, row), count in zip(trained, counts, strict=True) if count]
    order = trained[0][0]
    top = len({order.trial for order in orders})
    watched = _watched(measured, order.training.monitor)
    content: dict[str, Any] = {
        "epochs": order.training.epochs,
        "top": top,
        "seeds": len(orders) // top,
        "trials": list(dict.fromkeys(order.trial for order, _ in trained)),
        "members": [
            {"run": row.run, "trial": row.trial, "seed": row.seed, "count": count}
            for row, count in members
        ],
        "custom_objects": sorted({name for row, _ in members for name in _custom_objects(row)}),
    }
    return ModelRow(
        study=order.study,
        run=run,
        kind="ensemble",
        title=_title([row for row, _ in members]),
        spec=document_of_ensemble(content, data),
        trial=None,
        parameters=test.parameters,
        epochs=sum(row.epochs for row, _ in members),
        best_epoch=0,
        val_loss=measured.val_loss,
        val_accuracy=measured.val_accuracy,
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        seconds=sum(row.seconds for row, _ in members),
        seed=0,
        path=str(paths.model),
        fingerprint=data.fingerprint,
        val_macro_f1=watched.get("val_macro_f1"),
        val_auc=watched.get("val_auc"),
    )


def _watched(measured: Measured, monitor: str) -> dict[str, float | None]:
    """The monitored figure by name, if it is one that only some studies measure."""
    return {monitor: measured.watched} if monitor in OF_PREDICTIONS else {}


def _title(members: Sequence[ModelRow]) -> str:
    title = f"ensemble of {plural(len(members), 'model')}"
    trials = sorted({row.trial for row in members if row.trial is not None})
    if len(trials) > MOST_NAMED:
        return title
    return f"{title}, {'trial' if len(trials) == 1 else 'trials'} {', '.join(map(str, trials))}"


def _custom_objects(row: ModelRow) -> list[str]:
    """Registered names of what a user's own network needs from the user's code."""
    return list((json.loads(row.spec).get("own_network") or {}).get("custom_objects", ()))


def _as_candidate(row: ModelRow, count: int) -> EnsembleCandidate:
    return EnsembleCandidate(
        run=row.run,
        title=row.title,
        trial=row.trial,
        val_loss=row.val_loss,
        test_loss=row.test_loss,
        count=count,
    )


def _as_measured(row: ModelRow, measured: Measured, monitor: str) -> MeasuredModel:
    return MeasuredModel(
        run=row.run,
        title=row.title,
        val_loss=measured.val_loss,
        val_accuracy=measured.val_accuracy,
        test_accuracy=row.test_accuracy,
        parameters=row.parameters,
        milliseconds=measured.milliseconds,
        **_watched(measured, monitor),
    )
