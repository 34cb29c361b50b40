"""The documents' claims: verdicts on made-up studies whose truth is known, and the command."""

import itertools
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.claims import contrasts, plots
from search.claims import text as claim_text
from search.claims.catalog import CLAIMS
from search.claims.pairing import Anchor, next_work
from search.claims.verdicts import MOST_PAIRS, StudyView, Training, common_epoch, judge, key
from search.intervals import (
    FEWEST_PAIRS,
    of_differences,
    of_regression,
    pairs_needed,
)
from tests.support.commands import INTERRUPTED, SMALL, Place, interrupt, small_place
from tests.support.made_up import EPOCHS, Truth, study
from tests.support.pictures import pictures

AS_CLAIMED = Truth(
    batch=-1.5, filters=3, dropout=0.5, l2=3, norm=3, epochs=2, rate=(5, -5), order=3
)
OTHERWISE = Truth(
    batch=1.5,
    filters=-3,
    others_fit=(0.5, 0.4),
    l2=-3,
    norm=-3,
    epochs=-2,
    rate=(5, 5),
    order=-3,
)
BY_TRIALS = {claim.name for claim in CLAIMS} - {"order"}


def words(view: StudyView) -> dict[str, str]:
    return {verdict.claim.name: verdict.word for verdict in judge(view)}


@pytest.mark.parametrize("evidence", [{"pairs": 10}, {"trials": 120}])
@pytest.mark.parametrize(
    ("truth", "word"), [(AS_CLAIMED, "supported"), (OTHERWISE, "contradicted")]
)
def test_what_is_true_is_found(evidence: dict[str, int], truth: Truth, word: str) -> None:
    found = words(study(truth, **evidence, seed=3))
    if "trials" in evidence:
        assert found.pop("order") == "not enough data"  # it is no parameter of a trial
    assert set(found.values()) == {word}


@pytest.mark.parametrize(
    "view",
    [
        StudyView("none", EPOCHS),
        study(AS_CLAIMED, trials=15),
        study(AS_CLAIMED, pairs=FEWEST_PAIRS - 1),
        study(replace(AS_CLAIMED, noise=40), pairs=FEWEST_PAIRS),
    ],
    ids=["nothing", "few trials", "few pairs", "noise"],
)
def test_with_too_little_there_is_no_verdict_but_what_would_settle_it(view: StudyView) -> None:
    for verdict in judge(view):
        assert verdict.word == "not enough data", verdict.claim.name
        assert verdict.settle
        assert verdict.missing > 0 or "more than treino trains" in verdict.settle


def test_trials_that_a_pruner_chose_are_not_compared() -> None:
    view = study(AS_CLAIMED, trials=150, pruned=0.6)
    assert common_epoch(view) == 0
    assert set(words(view).values()) == {"not enough data"}


@pytest.mark.parametrize("evidence", [{"pairs": 6}, {"trials": 60}, {"trials": 60, "pruned": 0.05}])
def test_where_nothing_matters_a_verdict_is_rare(evidence: dict[str, float]) -> None:
    wrong: Counter[str] = Counter()
    studies = 60
    for seed in range(studies):
        for verdict in judge(study(Truth(), **evidence, seed=seed)):  # type: ignore[arg-type]
            wrong[verdict.claim.name] += verdict.word != "not enough data"
    # 8 of 60 or more come once in a hundred times where the chance is 5 in 100.
    assert max(wrong.values()) <= 7, wrong


def test_looking_again_after_every_round_keeps_the_level() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for differences in random.normal(size=(1000, MOST_PAIRS)):
        looks = [of_differences(differences[:n]) for n in range(FEWEST_PAIRS, MOST_PAIRS + 1, 2)]
        wrong += any(e is not None and (e.low > 0 or e.high < 0) for e in looks)
    assert wrong <= 65  # of 50 expected; more comes once in a hundred times


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_trainings_does_not_matter(random: object) -> None:
    view = study(AS_CLAIMED, trials=70, pairs=5, seed=1)
    trials, pairs = list(view.trials), list(view.pairs)
    random.shuffle(trials)  # type: ignore[attr-defined]
    random.shuffle(pairs)  # type: ignore[attr-defined]
    shuffled = replace(view, trials=trials, pairs=pairs)
    assert words(shuffled) == words(view)
    for one, other in zip(judge(view), judge(shuffled), strict=True):
        assert one.to_dict()["effect"] == pytest.approx(other.to_dict()["effect"])


finite = st.floats(-100, 100).map(lambda value: round(value, 3))


@given(st.lists(finite, min_size=FEWEST_PAIRS, max_size=12), st.floats(1, 50), st.integers(1, 2))
def test_more_noise_never_makes_a_verdict(values: list[float], more: float, many: int) -> None:
    mean = float(np.mean(values))
    calm, loud = (
        of_differences([mean + (value - mean) * factor for value in values], many)
        for factor in (1.0, more)
    )
    assert calm is not None
    assert loud is not None
    if calm.spread > 0 and loud.spread > 0:
        assert loud.low <= calm.low + 1e-9 * (1 + abs(calm.low))
        assert loud.high >= calm.high - 1e-9 * (1 + abs(calm.high))


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_so_many_pairs_as_are_called_needed_are_enough(effect: float, spread: float) -> None:
    n = pairs_needed(effect, spread)
    if n < 200:
        deviations = (
            np.resize([-1.0, 1.0], n) if n % 2 == 0 else np.append(np.resize([-1.0, 1.0], n - 1), 0)
        )
        differences = effect + deviations * spread / np.std(deviations, ddof=1)
        found = of_differences(list(differences))
        assert found is not None
        assert found.low > 0


def test_equal_differences_say_nothing_of_their_spread() -> None:
    found = of_differences([2.5] * 4)
    assert found is not None
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_a_regression_says_nothing_of_what_did_not_vary() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack([np.ones(40), random.normal(size=40), np.zeros(40)])
    varied, constant = of_regression(rows, 2 * rows[:, 1] + random.normal(size=40), np.eye(3)[1:])
    assert varied is not None
    assert varied.low < 2 < varied.high
    assert constant is None


def test_every_arm_changes_one_thing_and_leaves_run_10_in_one_place() -> None:
    for claim in CLAIMS:
        base = {**contrasts.RUN_10, contrasts.ORDER: "together"}
        for contrast in claim.contrasts if claim.arms else ():
            this, that = (key(claim.arms[n].of(base)) for n in (contrast.this, contrast.that))
            assert this != that
        if claim.arms and claim.name != "dropout":
            assert sum(key(arm.of(base)) == key(base) for arm in claim.arms) == 1


def test_pairs_are_asked_for_round_by_round_until_the_claim_is_settled() -> None:
    random = np.random.default_rng(0)
    anchors = [Anchor("run 10", {**contrasts.RUN_10, contrasts.ORDER: "together"})]
    batch = [claim for claim in CLAIMS if claim.name == "batch"]
    view = StudyView("made-up", EPOCHS)
    truth, trained = replace(AS_CLAIMED, noise=0.2), 0
    while (work := next_work(view, anchors, 0, claims=batch)) is not None:
        trained += 1
        pair = Training(
            str(trained), work.params, truth.curve(work.params, random), True, work.seed
        )
        view = replace(view, pairs=[*view.pairs, pair])
        assert trained < 2 * MOST_PAIRS + 1
    assert words(view)["batch"] == "supported"
    assert trained == 2 * FEWEST_PAIRS
    assert len({training.seed for training in view.pairs}) == FEWEST_PAIRS


def test_no_more_is_begun_before_the_round_is_over_and_nothing_twice() -> None:
    anchors = [Anchor("run 10", {**contrasts.RUN_10, contrasts.ORDER: "together"})]
    busy: set[object] = set()
    view = StudyView("made-up", EPOCHS, folders=1)
    for _ in itertools.repeat(None, 1000):
        work = next_work(view, anchors, 0, busy=busy)  # type: ignore[arg-type]
        if work is None:
            break
        assert work.key not in busy
        assert work.params[contrasts.ORDER] == "together"  # images in one folder have no order
        busy.add(work.key)
    # Run 10, batch, 128, 512, without dropout, L2, batch normalisation, two rates; of two seeds.
    assert len(busy) == 18


@pytest.mark.parametrize(
    "view",
    [study(AS_CLAIMED, pairs=5), study(AS_CLAIMED, trials=70), StudyView("empty", EPOCHS)],
    ids=["pairs", "trials", "nothing"],
)
def test_every_claim_is_drawn_and_told_in_80_columns(view: StudyView, tmp_path: Path) -> None:
    verdicts = judge(view)
    files = {verdict.claim.name: tmp_path / f"{verdict.claim.name}.png" for verdict in verdicts}
    for verdict in verdicts:
        if not verdict.source:  # the pictures of nothing: the command draws them below
            continue
        plots.draw(verdict, view, files[verdict.claim.name])
        assert files[verdict.claim.name].read_bytes().startswith(b"\x89PNG")
        svg = files[verdict.claim.name].with_suffix(".svg").read_text(encoding="utf-8")
        assert verdict.claim.text in svg
    short = {name: Path("var/claims") / f"{name}.png" for name in files}
    lines = [line.plain for line in claim_text.paragraphs(verdicts, view, short)]
    assert max(map(len, lines)) < 80
    for verdict in verdicts:
        assert any(line.startswith(verdict.claim.name) for line in lines)
        json.dumps(verdict.to_dict(), allow_nan=False)


def folders(root: Path) -> None:
    """Images in the documents' layout: two training folders, validation, test; 8 pixels."""
    from PIL import Image

    for number, name in enumerate(("train/train1", "train/train2", "validation", "test")):
        made = pictures(24, number)
        for index, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
            folder = root / name / ("dark", "grey", "light")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index}.png")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A finished search of one trial and two epochs on images in two training folders."""
    place = small_place(tmp_path)
    shutil.rmtree(tmp_path / "images")
    folders(tmp_path / "images")
    place.search(*SMALL, "--trials", "1", "--epochs", "2", "--workers", "1")
    return place


@pytest.mark.slow("a search, two paired trainings, and figures of all claims")
def test_settling_goes_on_after_ctrl_c_within_its_budget_and_is_read_by_the_next_call(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Place(place.folder, drawn=True).run("claims")
    assert out.count("not enough data") == len(CLAIMS)
    assert "treino claims --settle" in out
    drawn = {path.name for path in (place.folder / "var/images/claims").iterdir()}
    assert drawn == {f"{claim.name}.{end}" for claim in CLAIMS for end in ("png", "svg")}

    settle = ("claims", "order", "--settle", "--workers", "1")
    out = place.run(*settle, once=": epoch 1/2", then=interrupt, code=INTERRUPTED)
    assert "interrupted; everything is saved" in out
    budget = ("--budget-epochs", "5")
    found, told = place.json(*settle, *budget)
    assert capfd.readouterr() == ("", "")
    assert told.count(": started") == 2  # a third training of two epochs would be too many
    assert told.count("  at epoch ") == 2
    assert [claim["name"] for claim in found] == [claim.name for claim in CLAIMS]
    (order,) = (claim for claim in found if claim["name"] == "order")
    assert order["verdict"] == "not enough data"
    assert order["pairs"] == 1
    assert order["effect"] is not None
    assert order["low"] is None
    assert "ClaimVerdict" in (place.folder / order["figure"]).read_text()  # drawn anew
    log = (place.folder / "var/images/logs/worker-0.log").read_text().splitlines()
    first = [line for line in log if line.startswith("pair-") and line.endswith(": epoch 1")]
    assert len(first) == len(set(first)) == 2  # one of them before Ctrl-C
    again = place.run(*settle, *budget)
    assert "2 paired trainings so far" in again
    assert ": started" not in again
    assert "folders against together" in again
    assert "pair" not in place.run("leaderboard")
    assert not list((place.folder / "var/images/runs").glob("pair-*/checkpoint*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("batc", "--settle"), "unknown claim 'batc'; expected one of batch, filters"),
        (("batch",), "require --settle"),
        (("--budget-epochs", "5"), "require --settle"),
        (("--settle", "--budget-epochs", "0"), "--budget-epochs 0: expected 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in Place(tmp_path).run("claims", *arguments, code=2)


def test_a_budget_in_the_file_waits_for_settle(tmp_path: Path) -> None:
    (tmp_path / "treino.toml").write_text("settle_epochs = 5\n", encoding="utf-8")
    _, err = Place(tmp_path).start("claims").communicate(timeout=60)
    assert err.splitlines()[0] == "settings from treino.toml: settle_epochs=5"
    assert "make search" in err  # there is no study yet
    assert "--settle" not in err
