"""What a search learns from earlier studies in the same database."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from search.scheduling.prior import prior_of
from search.settings import Settings
from search.spaces.builtin import Space
from search.study.attributes import PRIOR_STUDIES
from search.study.recorded_curves import MOST_STUDIES, of_other_studies
from search.study.workspace import Workspace
from tests.support.studies import COMPLETE, FAIL, PRUNED, add, begin


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(), write=True) as opened:
        yield opened


def learned(place: Workspace, study: optuna.Study, space: Space) -> dict[str, list[int]]:
    """Trials that a study learns from, by their study, as a search that starts now reads them."""
    study = optuna.load_study(study_name=study.study_name, storage=place.storage)
    found = of_other_studies(study, place.storage, place.records, space)
    return {name: [curve.trial for curve in found[name].configurations] for name in found}


def finished(place: Workspace, name: str, count: int = 12) -> None:
    study, space = begin(place, name)
    add(place, study, space, [COMPLETE] * count)


def test_a_new_study_learns_from_whole_trials_of_earlier_ones(place: Workspace) -> None:
    study, space = begin(place, "birds")
    add(place, study, space, [COMPLETE] * 11 + [PRUNED, FAIL])
    finished(place, "few", 9)  # too few
    new, space = begin(place, "new")
    assert learned(place, new, space) == {"birds": list(range(11))}
    prior = prior_of(
        "auto",
        space.distributions(),
        studies=of_other_studies(new, place.storage, place.records, space),
    )
    assert prior.names[0] == "11 trainings of study 'birds'"
    assert len(prior.names) > 1  # beside what treino ships
    assert prior.trust.sum() == pytest.approx(1.0)


def test_a_study_reads_the_same_trials_again(place: Workspace) -> None:
    finished(place, "birds")
    new, space = begin(place, "new")
    before = learned(place, new, space)
    assert before == {"birds": list(range(12))}
    # Meanwhile the first study goes on, and another one ends.
    birds, _ = begin(place, "birds")
    add(place, birds, space, [COMPLETE] * 5)
    finished(place, "cats")
    add(place, new, space, [COMPLETE] * 2)
    assert learned(place, new, space) == before
    # A study is deleted: what is left of its warm start stays.
    optuna.delete_study(study_name="birds", storage=place.storage)
    assert learned(place, new, space) == {}


def test_a_study_of_an_earlier_version_learns_from_none(place: Workspace) -> None:
    finished(place, "birds")
    old, space = begin(place, "old")
    add(place, old, space, [COMPLETE])
    assert learned(place, old, space) == {}
    assert PRIOR_STUDIES not in old.user_attrs


def test_the_newest_studies_come_first_and_foreign_ones_are_left_alone(place: Workspace) -> None:
    optuna.create_study(storage=place.storage, study_name="of another program")
    for number in range(MOST_STUDIES + 2):
        finished(place, f"study {number}")
    new, space = begin(place, "new")
    assert len(learned(place, new, space)) == MOST_STUDIES


def test_trials_with_the_most_frequent_parameters_count(place: Workspace) -> None:
    study, space = begin(place, "mixed")
    add(place, study, space, [COMPLETE] * 3, params=("learning_rate", "dropout_dense"))
    add(place, study, space, [COMPLETE] * 11)
    new, space = begin(place, "new")
    assert learned(place, new, space) == {"mixed": list(range(3, 14))}


def test_an_odd_attribute_is_no_hindrance(place: Workspace) -> None:
    finished(place, "birds")
    new, space = begin(place, "new")
    new.set_user_attr(PRIOR_STUDIES, "something else")
    assert learned(place, new, space) == {}
