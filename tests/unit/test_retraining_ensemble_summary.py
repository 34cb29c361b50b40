"""What is said of an ensemble beside the best single model."""

import re

from rich.console import Console

from search.retraining.ensemble_summary import section, table, verdict
from search.study.ensemble_record import EnsembleCandidate, EnsembleRecord, MeasuredModel

SINGLE = MeasuredModel(
    run="trial-00003-retrained-0123abcd",
    title="trial 3 retrained",
    val_loss=0.6123,
    val_accuracy=0.81,
    test_accuracy=0.8,
    parameters=4_519_242,
    milliseconds=2.345,
)
ENSEMBLE = SINGLE.model_copy(
    update={
        "run": "ensemble-0123abcd",
        "title": "ensemble of 3 models, trials 3, 10, 127",
        "val_loss": 0.5,
        "parameters": 13_519_242,
        "milliseconds": 1234.5,
    }
)


def record(ensemble: MeasuredModel | None = ENSEMBLE) -> EnsembleRecord:
    counts = {3: 2, 10: 5, 127: 1, 9: 0}
    candidates = tuple(
        EnsembleCandidate(
            run=f"run {trial}",
            title=f"trial {trial} retrained",
            trial=trial,
            val_loss=0.6,
            test_loss=0.7,
            count=count if ensemble else 0,
        )
        for trial, count in counts.items()
    )
    return EnsembleRecord(
        candidates=candidates, single=SINGLE, ensemble=ensemble, test_images=10_000
    )


def test_the_table_fits_into_80_columns() -> None:
    console = Console(width=80, record=True)
    console.print(table(record()))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    for figure in (
        "0.6123",
        "0.8000",
        "0.7920-0.8078",
        "4,519,242",
        "13,519,242",
        "2.35",
        "1234.50",
    ):
        assert figure in text
    assert "one image at a time" in text


def test_members_come_with_their_weights_the_largest_first() -> None:
    members, delivered = verdict(record())
    assert members == (
        "ensemble of 3 of 4 models, with weights: trial 10 retrained (5/8), trial 3 retrained "
        "(2/8), trial 127 retrained (1/8)"
    )
    assert delivered == (
        "the ensemble is delivered: its validation loss is 0.5000, that of trial 3 retrained, in "
        "runs/trial-00003-retrained-0123abcd, 0.6123"
    )


def test_only_a_lower_validation_loss_delivers_the_ensemble() -> None:
    assert record().delivered is not SINGLE
    for loss in (SINGLE.val_loss, SINGLE.val_loss + 0.1):
        worse = record(ENSEMBLE.model_copy(update={"val_loss": loss, "test_accuracy": 1.0}))
        assert worse.delivered == SINGLE
        assert f"{loss:.4f}, is not lower than 0.6123: trial 3 retrained is" in verdict(worse)[-1]
    (none,) = verdict(record(None))
    assert none == (
        "no average of the 4 models has a lower validation loss than the best of them: trial 3 "
        "retrained is delivered"
    )


def test_the_card_has_a_row_for_each_of_the_two() -> None:
    text = section(record())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"\|", row)) for row in rows} == {7}
    assert "| 0.8000 (0.7920 to 0.8078) | 13,519,242 | 1234.50 |" in rows[-1]
    assert len([row for row in section(record(None)).splitlines() if row.startswith("|")]) == 3


def test_the_record_is_unchanged_by_json() -> None:
    for each in (record(), record(None)):
        assert EnsembleRecord.from_json(each.to_json()) == each


def test_a_monitored_share_decides_and_is_shown() -> None:
    single = SINGLE.model_copy(update={"val_auc": 0.9})
    for auc, delivered in ((0.91, True), (0.9, False), (0.8, False)):
        # Its validation loss is lower in any case.
        ensemble = ENSEMBLE.model_copy(update={"val_auc": auc})
        found = record(ensemble).model_copy(update={"single": single, "monitor": "val_auc"})
        assert (found.delivered == ensemble) == delivered
        said = verdict(found)[-1]
        if delivered:
            assert said.startswith("the ensemble is delivered: its val_auc is 0.9100, that of")
        else:
            assert said.startswith(f"the ensemble's val_auc, {auc:.4f}, is not higher than 0.9000")
        rows = [line for line in section(found).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"\|", row)) for row in rows} == {8}
        assert f"| {auc:.4f} | 0.5000 |" in rows[-1]
