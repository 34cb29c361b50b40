"""What a search knows before it begins: curves of other images."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from scipy.special import ndtr

from search.errors import SettingsError, TreinoError
from search.replay.simulation import ReplayJob, simulate
from search.replay.strategies import Promoting
from search.replay.tabular import TabularTask
from search.scheduling import curves
from search.scheduling.chooser import ObservedTrial
from search.scheduling.freeze_thaw import FreezeThaw
from search.scheduling.prior import (
    SHIPPED,
    Prior,
    Source,
    fits,
    normal_scores,
    prior_of,
    shipped,
    trusted_in,
)
from search.scheduling.rungs import rungs
from search.spaces.builtin import Documents, Extended
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube, shared
from search.study.attributes import MEMORY
from search.tuning.messages import knowing

SPACE = Documents(TrainingDefaults(epochs=20), 32).distributions()
RATE = FloatDistribution(0, 1)
RECORD = curves.read(SHIPPED / "digits.json")
OTHER = curves.read(SHIPPED / "cifar10.json")
MAX_OBSERVATIONS = [curve.params for curve in RECORD.configurations]


def at_end(prior: Prior, configurations: Sequence[Params]) -> np.ndarray:
    coordinates = UnitCube(SPACE)
    points = np.array([coordinates.of(params) for params in configurations])
    return np.asarray(prior.expect(points, np.ones(len(points))) @ prior.trust)


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
    assert (
        ranks_agree(at_end(Prior([Source(half, SPACE)]), MAX_OBSERVATIONS[60:]), lowest[60:]) > 0.4
    )


def test_what_is_expected_of_an_epoch_is_what_was_recorded_after_it() -> None:
    prior = Prior([Source(RECORD, SPACE)])
    points = np.array([UnitCube(SPACE).of(params) for params in MAX_OBSERVATIONS])
    first, between, last = (
        prior.expect(points, np.full(120, z)) @ prior.trust for z in (0.0, 0.5, 1.0)
    )
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
    few = {"learning_rate": SPACE["learning_rate"], **{f"own {n}": RATE for n in range(2)}}
    for prior in (prior_of("auto", few), prior_of("none", SPACE)):
        assert not len(prior)
        assert prior.expect(np.zeros((4, 9)), np.ones(4)).shape == (4, 0)


def inverted(record: curves.Curves) -> curves.Curves:
    """The record as on images where the opposite is good."""
    configurations = tuple(
        curve.model_copy(update={"val_loss": tuple(9 - loss for loss in curve.val_loss)})
        for curve in record.configurations
    )
    return record.model_copy(update={"configurations": configurations})


def test_a_file_of_ones_own_is_taken_and_one_of_another_space_refused(tmp_path: Path) -> None:
    turned = inverted(RECORD)
    curves.write(turned, tmp_path / "mine.json")
    mine = at_end(prior_of(str(tmp_path / "mine.json"), SPACE), MAX_OBSERVATIONS)
    assert np.corrcoef(mine, at_end(prior_of("auto", SPACE), MAX_OBSERVATIONS))[0, 1] < -0.3
    with pytest.raises(SettingsError, match="missing or differ: rate"):
        prior_of(str(tmp_path / "mine.json"), {"rate": RATE})
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


def test_what_an_earlier_version_learned_is_read() -> None:
    now = FreezeThaw(SPACE, 20, 0).memory
    scales = [*now["scales"][:-1], 0.3, now["scales"][-1]]  # 0.3: what is no longer used
    assert FreezeThaw(SPACE, 20, 0, {"scales": scales, "losses": 5, "prior": ""}).memory == {
        **now,
        "losses": 5,
    }
    before = {"scales": scales, "losses": 5, "prior": "120 trainings on digits"}
    known = Prior([Source(RECORD, SPACE)])
    assert trusted_in(before) == {"120 trainings on digits": 1.0}
    assert FreezeThaw(SPACE, 20, 0, before, known).memory["losses"] == 5


def test_a_search_begins_with_what_did_well_elsewhere_and_says_so() -> None:
    prior = prior_of("auto", SPACE)
    choices = [FreezeThaw(SPACE, 20, seed, prior=prior).choose([], new=True) for seed in range(8)]
    assert all(
        choice is not None and "recorded curves are trusted 100%" in choice.reason
        for choice in choices
    )
    begun = at_end(prior, [dict(choice.params) for choice in choices if choice is not None])
    drawn = [FreezeThaw(SPACE, 20, seed, prior=None).choose([], new=True) for seed in range(8)]
    usual = at_end(prior, [choice.params for choice in drawn if choice is not None])
    assert len(usual) == 8
    assert begun.max() < usual.mean()


def by_expectation(prior: Prior, count: int = 4000) -> list[Params]:
    """Configurations, those of which most is expected first."""
    coordinates = UnitCube(SPACE)
    points = coordinates.uniform(count, np.random.default_rng(5))
    expected = prior.expect(points, np.ones(count)) @ prior.trust
    return [coordinates.params(point) for point in points[expected.argsort()]]


def searched(prior: Prior, seed: int, trainings: int) -> tuple[TabularTask, Promoting, FreezeThaw]:
    """A search on curves that treino does not ship, until so many full trainings are spent."""
    task = TabularTask(OTHER, "other images")
    chooser = FreezeThaw(SPACE, task.epochs, seed, prior=prior)
    search = Promoting(chooser, rungs(task.epochs))
    simulate(task, search, 1, trainings * task.epochs)
    return task, search, chooser


def test_the_first_trials_are_favourites_and_random_ones_in_turn() -> None:
    prior = prior_of("auto", SPACE)
    favourites = by_expectation(prior)[:400]  # a tenth
    worst = at_end(prior, favourites).max()
    seen: list[ObservedTrial] = []
    for number in range(6):
        choice = FreezeThaw(SPACE, 20, 3, prior=prior).choose(seen, new=True)
        assert choice is not None
        assert choice.number is None
        assert bool(choice.reason) == (number % 2 == 0)
        assert not choice.reason or at_end(prior, [choice.params])[0] <= worst
        seen.append(ObservedTrial(number, choice.params, (), "running"))


def test_favourites_of_many_workers_are_those_of_several_epochs() -> None:
    prior = prior_of("auto", SPACE)
    chooser = FreezeThaw(SPACE, 20, 3, prior=prior)
    seen: list[ObservedTrial] = []
    for number in range(24):
        choice = chooser.choose(seen, new=True)
        assert choice is not None
        seen.append(ObservedTrial(number, choice.params, (), "running"))
    cube = UnitCube(SPACE)
    drawn = cube.uniform(4000, np.random.default_rng(5))
    favourites = np.array([cube.of(trial.params) for trial in seen if trial.number % 2 == 0])
    better = []  # share of configurations of which more is expected, by epoch and favourite
    for epoch in (1, *rungs(20)):
        expected = [
            prior.expect(points, np.full(len(points), math.log(epoch) / math.log(20))) @ prior.trust
            for points in (drawn, favourites)
        ]
        better.append((expected[0][:, None] < expected[1]).mean(axis=0))
    assert np.min(better, axis=0).max() < 0.01
    assert set(np.argmin(better, axis=0)) == set(range(len(better)))


def test_favourites_train_to_their_end_while_recorded_curves_are_trusted() -> None:
    prior = Prior([Source(OTHER, SPACE)])  # the same images: it is right
    _, search, chooser = searched(prior, 1, 3)
    first, *_ = search.trials
    assert len(first.losses) == OTHER.epochs
    assert sum(trusted_in(chooser.memory).values()) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_curves_of_images_where_the_opposite_is_good_are_soon_not_trusted(seed: int) -> None:
    _, search, chooser = searched(Prior([Source(inverted(OTHER), SPACE)]), seed, 5)
    assert sum(trusted_in(chooser.memory).values()) < 0.1
    # It costs no more than a few short trainings and one long one.
    favoured = [trial for trial in search.trials[:6:2] if len(trial.losses) == OTHER.epochs]
    assert len(favoured) <= 1


def test_a_chooser_that_is_made_again_from_its_memory_decides_the_same() -> None:
    prior = Prior([Source(RECORD, SPACE), Source(OTHER, SPACE, "mine")])
    task, straight, _ = searched(prior, 2, 4)
    again = Again(task, prior)
    simulate(task, again, 1, 4 * task.epochs)
    assert again.trials == straight.trials


class Again(Promoting):
    """A search whose tuner is killed before every decision."""

    def __init__(self, task: TabularTask, prior: Prior) -> None:
        super().__init__(FreezeThaw(SPACE, task.epochs, 2, prior=prior), rungs(task.epochs))
        self._made = lambda memory: FreezeThaw(SPACE, task.epochs, 2, memory, prior)

    def work(self) -> ReplayJob | None:
        self._chooser = self._made(json.loads(json.dumps(self._chooser.memory)))
        return super().work()


def test_sources_of_any_kind_stand_beside_each_other() -> None:
    here = {**SPACE, "depth": IntDistribution(0, 4), "extra": RATE}
    words = CategoricalDistribution(("slow", "fast"))
    other_kind = of_space({**SPACE, "learning_rate": words}, 1)
    logarithmic = of_space({**SPACE, "depth": IntDistribution(1, 8, log=True), "extra": RATE}, 2)
    prior = Prior([Source(each, here) for each in (RECORD, other_kind, logarithmic)])
    assert (prior.trust > 0).all()
    points = UnitCube(here).uniform(50, np.random.default_rng(0))
    assert np.isfinite(prior.expect(points, np.ones(50))).all()
    # All names are alike, and each weight is stored.
    assert len(trusted_in(FreezeThaw(here, 20, 0, prior=prior).memory)) == 3


def of_space(ranges: dict[str, Any], seed: int) -> curves.Curves:
    """The record's curves, for random configurations of another space."""
    cube = UnitCube(ranges)
    points = cube.uniform(len(RECORD.configurations), np.random.default_rng(seed))
    return RECORD.model_copy(
        update={
            "distributions": {
                name: json.loads(distribution_to_json(range_)) for name, range_ in ranges.items()
            },
            "configurations": tuple(
                curve.model_copy(update={"params": cube.params(point)})
                for curve, point in zip(RECORD.configurations, points, strict=True)
            ),
        }
    )


def test_the_first_weights_are_by_what_sources_say_of_each_other() -> None:
    random = np.random.default_rng(0)
    order = random.permutation(len(OTHER.configurations))
    mixed = tuple(
        curve.model_copy(update={"params": OTHER.configurations[row].params})
        for curve, row in zip(OTHER.configurations, order, strict=True)
    )
    useless = OTHER.model_copy(update={"configurations": mixed})
    prior = Prior([Source(RECORD, SPACE), Source(OTHER, SPACE), Source(useless, SPACE)])
    assert prior.trust.sum() == pytest.approx(1.0)
    assert prior.trust[2] < 0.15 < prior.trust[:2].min()


def test_spaces_share_the_parameters_of_which_every_value_is_known() -> None:
    extended = Extended(TrainingDefaults(epochs=20), 32).distributions()
    prior = Prior([Source(RECORD, extended)])
    points = UnitCube(extended).uniform(40, np.random.default_rng(0))
    expected = prior.expect(points, np.ones(40))
    # What the record lacks is unknown to it.
    lacking = [n for n, name in enumerate(extended) if name not in SPACE]
    points[:, lacking] = 0.5
    np.testing.assert_allclose(prior.expect(points, np.ones(40)), expected)
    assert np.ptp(expected) > 0.5
    fewer = {**SPACE, "batch_size": CategoricalDistribution((32, 128))}
    assert shared(fewer, SPACE) == list(SPACE)
    assert shared(SPACE, fewer) == [name for name in SPACE if name != "batch_size"]
    here, there = UnitCube(fewer), UnitCube(SPACE)
    point = here.of({**MAX_OBSERVATIONS[0], "batch_size": 128})
    assert there.params(here.moved(point[None], there)[0])["batch_size"] == 128


def test_a_search_says_when_it_goes_on_with_another_prior() -> None:
    study = optuna.create_study()
    known, nothing = Prior([Source(RECORD, SPACE)]), Prior()
    assert "warm start from 120 trainings on digits" in knowing(study, True, known)
    assert not knowing(study, True, nothing)
    study.set_user_attr(MEMORY, dict(FreezeThaw(SPACE, 20, 0, prior=known).memory))
    assert not knowing(study, False, known)
    assert "changed: without 120 trainings on digits" in knowing(study, False, nothing)
    for before in ({"scales": [], "losses": 9}, dict(FreezeThaw(SPACE, 20, 0).memory)):
        study.set_user_attr(MEMORY, before)
        assert "changed: with 120 trainings on digits" in knowing(study, False, known)


def test_a_record_counts_in_the_space_of_most_of_its_parameters() -> None:
    defaults = TrainingDefaults(epochs=20)
    spaces = [kind(defaults, 32).distributions() for kind in (Documents, Extended)]
    in_documents, in_extended = ({each.data for each in shipped(space)} for space in spaces)
    assert len(in_documents) == 5
    assert len(in_extended) == 1
    assert not in_documents & in_extended
    # A file that a user names counts by the parameters that the space knows of it.
    record = curves.read(SHIPPED / "fashion-extended.json")
    assert fits(record, spaces[0])
