"""What a search knows before it begins: curves of other images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.special import ndtr

from search.errors import SettingsError, TreinoError
from search.scheduling import curves
from search.scheduling.chooser import NextTraining, ObservedTrial
from search.scheduling.freeze_thaw import FreezeThaw
from search.scheduling.prior import RECORDED, Prior, RecordedPrior, normal_scores, prior_of
from search.spaces.builtin import Documents, Extended
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube
from search.study.attributes import MEMORY
from search.tuning.messages import knowing

SPACE = Documents(TrainingDefaults(epochs=20), 32).distributions()
RECORD = curves.read(RECORDED)
MAX_OBSERVATIONS = [curve.params for curve in RECORD.configurations]


def at_end(prior: Prior, configurations: Sequence[Params]) -> np.ndarray:
    coordinates = UnitCube(SPACE)
    points = np.array([coordinates.of(params) for params in configurations])
    return prior.expect(points, np.ones(len(points)))


def test_scores_are_normal_and_by_rank_and_the_lowest_is_lowest() -> None:
    table = np.array([[3.0, 1.0], [1.0, np.inf], [2.0, 9.0], [7.0, 2.0]])
    scores = normal_scores(table)
    assert ndtr(scores) == pytest.approx(np.array([[5, 1], [1, 7], [3, 5], [7, 3]]) / 8)


def test_what_treino_brings_is_whole_and_of_the_documents_space() -> None:
    assert len(MAX_OBSERVATIONS) == 120
    assert "digits" in RECORD.data
    assert {len(curve.val_loss) for curve in RECORD.configurations} <= set(range(10, 21))
    assert RECORD.distributions.keys() == SPACE.keys()


def ranks_agree(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation."""
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])


def test_what_did_well_elsewhere_is_expected_to_do_well() -> None:
    lowest = RECORD.table().min(axis=1)
    assert ranks_agree(at_end(prior_of("auto", SPACE), MAX_OBSERVATIONS), lowest) > 0.8
    # Of others too: the record's second half, by its first.
    half = RECORD.model_copy(update={"configurations": RECORD.configurations[:60]})
    assert ranks_agree(at_end(RecordedPrior(half, SPACE), MAX_OBSERVATIONS[60:]), lowest[60:]) > 0.4


def test_what_is_expected_of_an_epoch_is_what_was_recorded_after_it() -> None:
    prior = prior_of("auto", SPACE)
    points = np.array([UnitCube(SPACE).of(params) for params in MAX_OBSERVATIONS])
    first, between, last = (prior.expect(points, np.full(120, z)) for z in (0.0, 0.5, 1.0))
    losses = RECORD.table()[:, 0]
    assert ranks_agree(first, losses) > 0.6 > ranks_agree(last, losses)
    assert ranks_agree(first, between) > ranks_agree(first, last)


def test_other_ranges_of_the_same_parameters_are_no_hindrance() -> None:
    narrow = {
        **SPACE,
        "learning_rate": FloatDistribution(3e-4, 3e-3, log=True),
        "blocks": IntDistribution(2, 3),
    }
    here, there = UnitCube(narrow), UnitCube(SPACE)
    points = here.uniform(50, np.random.default_rng(0))
    same = np.array([there.of(here.params(point)) for point in points])
    ends = np.ones(50)
    np.testing.assert_allclose(
        prior_of("auto", narrow).expect(points, ends),
        prior_of("auto", SPACE).expect(same, ends),
        atol=1e-6,
    )


@pytest.mark.parametrize("configurations", [MAX_OBSERVATIONS, MAX_OBSERVATIONS[3:4] * 6])
def test_what_is_expected_of_one_does_not_depend_on_the_others(
    configurations: list[Params],
) -> None:
    prior = prior_of("auto", SPACE)
    found = at_end(prior, configurations)
    np.testing.assert_allclose(at_end(prior, configurations[::-1])[::-1], found)
    np.testing.assert_allclose([at_end(prior, [each])[0] for each in configurations], found)


def test_where_nothing_was_recorded_nothing_is_expected() -> None:
    other = Extended(TrainingDefaults(epochs=20), 32).distributions()
    for prior in (prior_of("auto", other), prior_of("none", SPACE)):
        assert not isinstance(prior, RecordedPrior)
        assert not prior.expect(np.zeros((4, 9)), np.ones(4)).any()


def test_a_file_of_ones_own_is_taken_and_one_of_another_space_refused(tmp_path: Path) -> None:
    # As on images where the opposite is good.
    turned = RECORD.model_copy(
        update={
            "configurations": tuple(
                curve.model_copy(update={"val_loss": tuple(9 - loss for loss in curve.val_loss)})
                for curve in RECORD.configurations
            )
        }
    )
    curves.write(turned, tmp_path / "mine.json")
    mine = at_end(prior_of(str(tmp_path / "mine.json"), SPACE), MAX_OBSERVATIONS)
    assert np.corrcoef(mine, at_end(prior_of("auto", SPACE), MAX_OBSERVATIONS))[0, 1] < -0.3
    with pytest.raises(SettingsError, match="same choices; these differ: blocks, last_filters"):
        prior_of(str(tmp_path / "mine.json"), {"rate": FloatDistribution(0, 1)})
    few = turned.model_copy(update={"configurations": turned.configurations[:9]})
    curves.write(few, tmp_path / "few.json")
    with pytest.raises(SettingsError, match="has 9 with 20"):
        prior_of(str(tmp_path / "few.json"), SPACE)
    with pytest.raises(TreinoError, match="No such file"):
        prior_of(str(tmp_path / "none.json"), SPACE)


def test_what_was_learned_beside_another_prior_is_forgotten() -> None:
    known, nothing = prior_of("auto", SPACE), Prior()
    memory = {**FreezeThaw(SPACE, 20, 0, prior=known).memory, "losses": 300}
    assert FreezeThaw(SPACE, 20, 0, memory, known).memory == memory
    assert FreezeThaw(SPACE, 20, 0, memory, nothing).memory["losses"] == 0


def test_a_search_begins_with_what_did_well_elsewhere_and_says_so() -> None:
    prior = prior_of("auto", SPACE)
    choices = [FreezeThaw(SPACE, 20, seed, prior=prior).choose([], new=True) for seed in range(8)]
    assert all(choice is not None and "recorded on digits" in choice.reason for choice in choices)
    begun = at_end(prior, [dict(choice.params) for choice in choices if choice is not None])
    drawn = [FreezeThaw(SPACE, 20, seed, prior=None).choose([], new=True) for seed in range(8)]
    usual = at_end(prior, [choice.params for choice in drawn if choice is not None])
    assert len(usual) == 8
    assert begun.max() < usual.mean()


def by_expectation(prior: Prior, count: int = 4000) -> list[Params]:
    """Configurations, those of which most is expected first."""
    coordinates = UnitCube(SPACE)
    points = coordinates.uniform(count, np.random.default_rng(5))
    return [
        coordinates.params(point)
        for point in points[prior.expect(points, np.ones(count)).argsort()]
    ]


@pytest.mark.parametrize(("epochs", "earlier", "judged"), [(20, (2,), 7), (50, (2, 6), 17)])
@pytest.mark.parametrize("new", [True, False])
def test_what_did_very_well_elsewhere_is_not_judged_by_its_first_epochs(
    epochs: int, earlier: tuple[int, ...], judged: int, new: bool
) -> None:
    prior = prior_of("auto", SPACE)
    best, *_ = ordered = by_expectation(prior)
    trusted = int((at_end(prior, ordered) <= prior.good).sum())
    assert 1 <= trusted <= 12  # about a thousandth
    next_best = ordered[trusted]
    others = [
        ObservedTrial(n, MAX_OBSERVATIONS[n], (2.0, 1.5 + 0.01 * n), "paused") for n in range(1, 5)
    ]

    def chosen(params: Params, losses: tuple[float, ...], prior: Prior) -> NextTraining:
        trial = ObservedTrial(0, params, losses, "paused")
        choice = FreezeThaw(SPACE, epochs, 0, prior=prior).choose([trial, *others], new=new)
        assert choice is not None
        return choice

    # Before others are begun, even: it need not be paused.
    alone = FreezeThaw(SPACE, epochs, 0, prior=prior).choose(
        [ObservedTrial(0, best, (3.0, 2.9), "paused")], new=new
    )
    assert alone is not None
    assert alone.number == 0
    for early in earlier:
        choice = chosen(best, (3.0,) * early, prior)
        assert choice.number == 0
        assert "recorded on digits" in choice.reason
    # After a third of its training it is as any other; where it diverges, or nothing is known, too;
    # and so is one that is not quite as good.
    for params, losses, known in (
        (best, (3.0,) * judged, prior),
        (best, (np.inf, np.inf), prior),
        (best, (3.0, 2.9), Prior()),
        (next_best, (3.0, 2.9), prior),
    ):
        assert chosen(params, losses, known).number != 0


def test_a_prior_is_trusted_until_the_search_knows_better() -> None:
    prior = prior_of("auto", SPACE)
    trial = ObservedTrial(0, by_expectation(prior)[0], (3.0, 2.9), "paused")
    whole = [
        ObservedTrial(n, MAX_OBSERVATIONS[n], (1.5 + 0.01 * n,) * 20, "over") for n in range(1, 41)
    ]
    for spent, trusted in ((whole[:30], True), (whole, False)):
        choice = FreezeThaw(SPACE, 20, 0, prior=prior).choose([trial, *spent], new=True)
        assert choice is not None
        assert (choice.number == 0) is trusted


def test_a_search_says_when_it_goes_on_with_another_prior() -> None:
    study = optuna.create_study()
    known, nothing = prior_of("auto", SPACE), Prior()
    assert "warm start from 120 trainings on digits" in knowing(study, True, known)
    assert not knowing(study, True, nothing)
    study.set_user_attr(MEMORY, dict(FreezeThaw(SPACE, 20, 0, prior=known).memory))
    assert not knowing(study, False, known)
    assert "from 120 trainings on digits to none" in knowing(study, False, nothing)
    for before in ({"scales": [], "losses": 9}, dict(FreezeThaw(SPACE, 20, 0).memory)):
        study.set_user_attr(MEMORY, before)
        assert "from none to 120 trainings on digits" in knowing(study, False, known)
