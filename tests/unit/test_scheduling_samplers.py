"""Decisions: what to train next, what an epoch means, which random numbers a trial gets."""

import numpy as np
import optuna
import pytest

from search.scheduling.pruners import make_pruner
from search.scheduling.samplers import OPTUNA, make_sampler
from search.scheduling.seeds import training_seed, trial_seed
from search.settings import PRUNERS, SAMPLERS
from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults


def finished_study(pruner: optuna.pruners.BasePruner, epochs: int = 9) -> optuna.Study:
    """Ten complete trials whose values are 0.0 to 0.9 at every epoch."""
    study = optuna.create_study(pruner=pruner, study_name="s")
    for number in range(10):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(number / 10, epoch)
            trial.should_prune()
        study.tell(trial, number / 10)
    return study


def epochs_survived(name: str, value: float) -> int:
    study = finished_study(make_pruner(name, 9))
    trial = study.ask()
    for epoch in range(1, 10):
        trial.report(value, epoch)
        if epoch < 9 and trial.should_prune():
            return epoch
    return 9


@pytest.mark.parametrize(
    ("name", "bad"),
    [("median", 3), ("halving", 1), ("none", 9)],
)
def test_pruners_end_a_bad_trial_when_they_say_and_leave_a_good_one(name: str, bad: int) -> None:
    assert epochs_survived(name, 5.0) == bad
    assert epochs_survived(name, -1.0) == 9


def test_hyperband_ends_a_bad_trial() -> None:
    study = finished_study(make_pruner("hyperband", 9))
    survived = []
    for _ in range(6):  # whatever bracket the hash of the trial's number gives
        trial = study.ask()
        epoch = 1
        while epoch < 9:
            trial.report(9.0, epoch)
            if trial.should_prune():
                break
            epoch += 1
        survived.append(epoch)
        study.tell(trial, 9.0)
    assert min(survived) < 9


def test_a_sampler_is_treinos_own_or_optunas() -> None:
    assert set(SAMPLERS) == {"gp", *OPTUNA}
    with pytest.raises(KeyError):
        make_sampler("cmaes", 0, 0)


@pytest.mark.parametrize("name", OPTUNA)
def test_a_trial_draws_the_same_whatever_process_asks(name: str) -> None:
    space = Documents(TrainingDefaults(epochs=3), 32)

    def draw(seed: int, number: int) -> dict[str, object]:
        study = finished_study(make_pruner("none", 9))
        study.sampler = make_sampler(name, seed, number)
        return space.suggest(study.ask())

    assert draw(1, 10) == draw(1, 10)
    assert draw(1, 10) != draw(1, 11)
    assert draw(1, 10) != draw(2, 10)


def test_trial_seeds_fit_keras_and_differ() -> None:
    seeds = {trial_seed(seed, number) for seed in (0, 1, 2**63 - 1) for number in range(200)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_seed_of_a_training_is_itself_or_one_that_fits() -> None:
    same = (0, 7, 2**32 - 1)
    assert tuple(map(training_seed, same)) == same
    larger = [training_seed(2**power + by) for power in range(32, 63) for by in (0, 1)]
    assert len(set(larger)) == len(larger)
    assert all(0 <= seed < 2**32 for seed in larger)
    np.random.RandomState(training_seed(2**63 - 1))


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_works_for_a_single_epoch(name: str) -> None:
    study = optuna.create_study(pruner=make_pruner(name, 1), study_name="one")
    trial = study.ask()
    trial.report(1.0, 1)
    trial.should_prune()
    study.tell(trial, 1.0)
