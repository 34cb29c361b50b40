"""Recorded curves: from a study to a file, back, and searched on."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.errors import TreinoError
from search.replay.tabular import TabularTask, check
from search.scheduling import curves
from search.scheduling.curves import LEAST, Curve, Curves
from search.study import recorded_curves
from search.study.attributes import UNFIT
from search.study.trials import run_name
from storage.engine import open_storage
from storage.tables import Records
from tests.support.commands import INTERRUPTED, SMALL, Place, interrupt, small_place
from tests.support.recipes import begun, recipe
from tests.support.recorded import EPOCHS, RANGES, curve, made, params

TABLE = made(tuple(curve(seed) for seed in range(30)))
curve_strategy = st.integers(0, 10_000).flatmap(
    lambda seed: st.builds(
        lambda figures, diverged: Curve(
            trial=seed,
            params=params(seed),
            val_loss=tuple(loss for loss, _ in figures),
            val_accuracy=tuple(accuracy for _, accuracy in figures),
            diverged=diverged or not figures,
        ),
        st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), max_size=EPOCHS),
        st.booleans(),
    )
)


@given(st.lists(curve_strategy, min_size=1, max_size=5))
def test_a_file_gives_back_what_was_written(configurations: list[Curve]) -> None:
    before = made(tuple(configurations))
    text = before.to_text()
    after = Curves.from_json(text)
    assert after == before
    assert after.to_text() == text
    assert after.ranges == RANGES
    # A line each, so that two files can be compared.
    assert sum(line.startswith('    {"trial"') for line in text.splitlines()) == len(configurations)


def test_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "curves.json"
    curves.write(TABLE, file)
    assert curves.read(file) == TABLE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"format": 1', '"format": 2', "format"),
        ('"format": 1,', '"shape": 1,', "shape"),
        ('"epochs": 6', '"epochs": 2', "expected at most 2 epochs for trial 0"),
        ('"epochs": 6', '"epochs": "6"', "epochs"),
        ('"blocks": 2', '"blocks": 9', "in their ranges"),
        ('"kind": "sgd"', '"kind": "lion"', "not in"),
        ('"kind": "sgd"', '"sort": "sgd"', "in their ranges"),
        ('"IntDistribution"', '"ListDistribution"', "as Optuna writes them"),
        (
            '"val_loss": [',
            '"val_loss": [1.0, ',
            "expected as many losses as accuracies for trial 0",
        ),
        ('"val_loss": [', '"val_loss": [NaN, ', "finite"),
        ('"configurations": [', '"configurations": ', "JSON"),
    ],
)
def test_another_file_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = TABLE.to_text()
    assert old in text
    file = tmp_path / "curves.json"
    file.write_text(text.replace(old, new))
    with pytest.raises(TreinoError, match=r"is not a curves file") as error:
        curves.read(file)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TreinoError, match="No such file"):
        curves.read(tmp_path / "curves.json")
    with pytest.raises(TreinoError, match="Is a directory"):
        curves.read(tmp_path)
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    with pytest.raises(TreinoError, match="is not a curves file"):
        curves.read(tmp_path / "bytes")


def test_a_recorded_configuration_has_its_own_curve() -> None:
    task = TabularTask(TABLE, "mine")
    losses = TABLE.table()
    for row, known in zip(losses, TABLE.configurations, strict=True):
        assert np.array_equal(task.curves()(known.params), row)
    assert task.best == losses.min()
    assert task.middle == np.median(losses.min(axis=1))


def test_every_other_configuration_has_a_curve_among_those_of_similar_ones() -> None:
    task = TabularTask(TABLE, "mine")
    losses = TABLE.table()
    rates, lowest = [], []
    for seed in range(1000, 1200):
        asked = params(seed)
        found = task.curves()(asked)
        assert (found >= losses.min(axis=0)).all()
        assert (found <= losses.max(axis=0)).all()
        rates.append(asked["rate"])
        lowest.append(found.min())
    # The rate alone decides in this table, and that is found out.
    assert np.corrcoef(-np.log(rates), lowest)[0, 1] > 0.9
    again = TabularTask(TABLE, "mine")
    for seed in range(9):
        assert np.array_equal(again.curves()(params(seed)), task.curves()(params(seed)))


def test_in_one_search_no_two_have_the_same_luck_while_there_is_any_left() -> None:
    task = TabularTask(TABLE, "mine")
    curve_of = task.curves()
    asked = [params(seed) for seed in range(500, 500 + len(TABLE.configurations))]
    found = [tuple(curve_of(each).tolist()) for each in asked]
    # The first that asks has the luck of the most similar one, whatever is asked later;
    assert found[0] == tuple(task.curves()(asked[0]).tolist())
    # a second one that is all but the same has another's;
    twice = task.curves()
    near = {**asked[0], "rate": asked[0]["rate"] * (1 + 1e-12)}
    assert not np.array_equal(twice(asked[0]), twice(near))
    assert np.array_equal(task.curves()(asked[0]), task.curves()(near))
    # the same configuration has the same again;
    assert [tuple(curve_of(each).tolist()) for each in asked] == found
    # and when none is left, that of the most similar one, had or not.
    for seed in range(490, 500):
        assert np.array_equal(curve_of(params(seed)), task.curves()(params(seed)))


def test_who_has_the_luck_of_a_diverged_one_diverges() -> None:
    broken = tuple(
        Curve(
            trial=curve.trial,
            params=curve.params,
            val_loss=curve.val_loss[:2],
            val_accuracy=curve.val_accuracy[:2],
            diverged=True,
        )
        if float(curve.params["rate"]) > 3e-3
        else curve
        for curve in TABLE.configurations
    )
    assert 0 < sum(curve.diverged for curve in broken) < len(broken) / 2
    task = TabularTask(made(broken), "mine")
    wild = {**params(3), "rate": 9e-3}
    tame = {**params(3), "rate": 2e-4}
    assert np.isfinite(task.curves()(wild)).tolist() == [True, True, False, False, False, False]
    assert np.isfinite(task.curves()(tame)).all()


def test_a_short_curve_goes_on_as_it_ended() -> None:
    stopped = Curve(trial=0, params=params(0), val_loss=(2.0, 1.0), val_accuracy=(0.1, 0.2))
    diverged = stopped.model_copy(update={"diverged": True})
    losses = made((stopped, diverged)).table()
    assert losses.tolist() == [[2.0, 1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 1.0, *[math.inf] * 4]]


def test_a_table_too_small_or_too_even_is_refused() -> None:
    check(TABLE, "mine")
    with pytest.raises(TreinoError, match=f"9 full trainings; a replay needs at least {LEAST}"):
        check(made(TABLE.configurations[:9]), "mine")
    with pytest.raises(TreinoError, match="equal the best one"):
        check(made(TABLE.configurations[1:2] * 20), "mine")
    lost = Curve(trial=0, params=params(0), val_loss=(), val_accuracy=(), diverged=True)
    with pytest.raises(TreinoError, match="equal the best one"):
        check(made((*TABLE.configurations[:9], *[lost] * 20)), "mine")


def test_a_studys_whole_curves_are_taken_and_no_others(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'treino.db'}", write=True)
    records = Records(storage.engine)
    study = begun(storage, "mine", recipe("images", "5f1e", epochs=EPOCHS, seed=3), "/secret")
    assert recorded_curves.of_study(study, records) is None

    def trained(*losses: float) -> optuna.Trial:
        trial = study.ask(RANGES)
        for epoch, loss in enumerate(losses, 1):
            figures = dict.fromkeys(
                ("loss", "accuracy", "penalised_loss", "penalised_val_loss", "learning_rate"), 0.5
            )
            figures |= {"val_loss": loss, "val_accuracy": 0.25, "seconds": 1.0, "epoch": epoch}
            records.record_epoch("mine", run_name(trial.number), figures)
            trial.report(loss, epoch)
        return trial

    study.tell(trained(2.0, 1.0, 1.5), 1.0)  # stopped early
    study.tell(trained(2.0, 3.0), state=TrialState.PRUNED)
    bad = trained(7.123456789)
    bad.set_user_attr(UNFIT, value=True)
    study.tell(bad, state=TrialState.PRUNED)
    study.tell(trained(1.0), state=TrialState.FAIL)
    trained(1.0)
    found = recorded_curves.of_study(study, records)
    storage.engine.dispose()
    assert found is not None
    assert [(c.trial, c.val_loss, c.diverged) for c in found.configurations] == [
        (0, (2.0, 1.0, 1.5), False),
        (2, (7.12346,), True),
    ]
    assert found.ranges == RANGES
    assert found.versions == {"keras": "3"}
    assert "secret" not in found.to_text()


@pytest.mark.slow("records the curves of four trainings")
def test_a_recording_broken_off_and_continued_ends_in_the_same_file(tmp_path: Path) -> None:
    place = small_place(tmp_path)
    arguments = ["record", "--data", "images", "--images", "30", *SMALL]
    arguments += ["--configurations", "2", "--epochs", "3", "--workers", "1"]
    out = place.run(*arguments, once="trial 1: epoch 1/3", then=interrupt, code=INTERRUPTED)
    assert "1 of 2 configurations recorded in var/images-curves/curves.json" in out
    place.run(*arguments)
    file = tmp_path / "var/images-curves/curves.json"
    broken = file.read_bytes()
    assert list(tmp_path.glob("var/images-curves/runs/*/checkpoint*")) == []
    shutil.rmtree(tmp_path / "var")
    out = place.run(*arguments, "--out", "through.json")
    assert "2 of 2 configurations recorded in through.json" in out
    assert (tmp_path / "through.json").read_bytes() == broken
    found = curves.read(file.parents[2] / "through.json")
    assert [len(c.val_loss) for c in found.configurations] == [3, 3]
    assert found.data.startswith("images (30 images) ")
    said = place.run("replay", code=1)
    assert (
        f"study 'images-curves' has the curves of 2 full trainings; a replay needs at least {LEAST}"
        in said
    )


def test_replay_on_files_of_curves(tmp_path: Path) -> None:
    place = Place(tmp_path)
    curves.write(TABLE, tmp_path / "a.json")
    arguments = ("replay", "--curves", "a.json", "--strategies", "promote-random", "--seeds", "1")
    results = json.loads(place.run(*arguments, "--json"))
    assert {(r["strategy"], r["budget"]) for r in results} == {
        ("promote-random", budget) for budget in (3, 5, 10, 20, 40)
    }
    regret = [r["regret"] for r in results]
    assert regret == sorted(regret, reverse=True)
    assert regret[-1] < 0.2
    assert "expected only one of them" in place.run(*arguments, "--lcbench", "x", code=2)
    assert "--tasks" in place.run(*arguments, "--tasks", "3945", code=2)
    (tmp_path / "b.json").write_text("{}")
    assert "b.json is not a curves file" in place.run(*arguments, "--curves", "b.json", code=1)
