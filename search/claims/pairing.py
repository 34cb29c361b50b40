"""Paired trainings: which ones the report's claims still need, and their records.

They belong to the study but are not trials: several have the same configuration, the order of
training is not a trial parameter, and the sampler must not learn from them.
"""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState

from data.dataset import DataError, Dataset
from models.history import EpochFigures, best_epoch
from models.spec import count_parameters
from search.claims import contrasts
from search.claims.catalog import CLAIMS, Claim
from search.claims.verdicts import MOST_PAIRS, Key, StudyView, Training, judge, key
from search.intervals import FEWEST_PAIRS
from search.scheduling.seeds import trial_seed
from search.spaces.builtin import Space
from search.spaces.unit_cube import Params
from search.study.opening import openings_of
from search.study.provenance import document
from search.study.recipe import recipe_of
from search.study.training_order import TrainingOrder
from search.study.trials import best_trial, counted, run_name
from storage.tables import ModelRow, Records

KIND: Literal["pair"] = "pair"
PER_ROUND = 2  # pairs of a claim between two tests of it
ROUNDS = MOST_PAIRS // PER_ROUND
FIRST_SEED = 2**20  # start of seed numbers, beyond any trial number


@dataclass(frozen=True)
class Anchor:
    """A configuration to build paired trainings around.

    Attributes:
        name: Its name.
        params: The configuration, the order of training included.
        trial: Its trial, if any.
    """

    name: str
    params: Params
    trial: int | None = None


@dataclass(frozen=True)
class PairTraining:
    """One training of a pair.

    Attributes:
        title: Title for messages.
        params: The configuration, the order of training included.
        seed: Seed of the training, the same for the trainings it is compared with.
        trial: The trial it derives from, if any.
    """

    title: str
    params: Params
    seed: int
    trial: int | None

    @property
    def key(self) -> tuple[Key, int]:
        """Key of this training."""
        return key(self.params), self.seed

    def order(self, study: str, space: Space) -> TrainingOrder:
        """The training order: all epochs of the study, without early stopping."""
        model, training = space.specs(self.params)
        changes = {"early_stopping": None, "train_order": self.params[contrasts.ORDER]}
        training = training.model_copy(update=changes)
        return TrainingOrder(study, KIND, KIND, self.title, model, training, self.seed, self.trial)


def view_of(study: optuna.Study, records: Records) -> StudyView:
    """The data that claims are judged by, from the study and treino's tables.

    Failed trials are left out: FAIL is for faults that are not the configuration's.
    """
    recipe = recipe_of(study)
    epochs = records.epochs_of_study(study.study_name)
    trials = [
        Training(
            run_name(trial.number),
            trial.params,
            _finite(epochs.get(run_name(trial.number), [])),
            ended=trial.state is TrialState.COMPLETE,
        )
        for trial in counted(study.get_trials(deepcopy=False))
        if trial.state is not TrialState.FAIL
    ]
    pairs = [
        Training(
            row.run,
            json.loads(row.spec)["params"],
            _finite(epochs.get(row.run, [])),
            ended=True,
            seed=row.seed,
        )
        for row in records.models(study.study_name)
        if row.kind == KIND
    ]
    return StudyView(
        name=study.study_name,
        epochs=recipe.training.epochs,
        trials=trials,
        pairs=pairs,
        order=recipe.training.train_order,
        folders=_folders(study),
    )


def anchors_of(study: optuna.Study, space: Space, records: Records) -> list[Anchor]:
    """Run 10, if it fits the images, and the study's best trial.

    The best trial stays the one at the time of the first pair.
    """
    order = {contrasts.ORDER: space.training.train_order}
    anchors = []
    if space.contains(contrasts.RUN_10):
        anchors.append(Anchor("run 10", {**contrasts.RUN_10, **order}))
    before = [
        row.trial
        for row in records.models(study.study_name)
        if row.kind == KIND and row.trial is not None
    ]
    best = best_trial(study)
    number = before[0] if before else best.number if best else None
    if number is not None:
        params = {**study.get_trials(deepcopy=False)[number].params, **order}
        documents = contrasts.RUN_10.keys() | order.keys()
        if params.keys() == documents and params not in [anchor.params for anchor in anchors]:
            anchors.append(Anchor(f"trial {number}", params, number))
    return anchors


def next_work(
    view: StudyView,
    anchors: Sequence[Anchor],
    seed: int,
    *,
    claims: Sequence[Claim] = CLAIMS,
    busy: Collection[tuple[Key, int]] = (),
    given_up: Collection[tuple[Key, int]] = (),
) -> PairTraining | None:
    """The next training; None if none is needed, or if a running one has to end first.

    Trainings come in rounds of PER_ROUND pairs for every claim. A claim that is already settled,
    or that would need more pairs than treino trains, gets no more.

    Args:
        view: The data so far.
        anchors: The configurations to train around.
        seed: Seed of the study.
        claims: The claims to settle.
        busy: Running trainings.
        given_up: Failed trainings, which are not retried.
    """
    done = {(training.key, training.seed) for training in view.pairs}
    waiting: set[str] = set()
    for number in range(ROUNDS):
        before = {s for n in range(number) for _, s in _round(anchors, seed, n)}
        view_before = replace(view, pairs=[pair for pair in view.pairs if pair.seed in before])
        open_claims = {v.claim.name for v in judge(view_before) if v.missing}
        for claim in claims:
            if claim.name not in open_claims - waiting:
                continue
            for work in works_of(claim, anchors, seed, number):
                if work.key in done or work.key in given_up:
                    continue
                if work.key not in busy:
                    return work
                waiting.add(claim.name)
    return None


def most_work(
    view: StudyView, anchors: Sequence[Anchor], seed: int, claims: Sequence[Claim]
) -> int:
    """Number of trainings that a first look at every claim needs."""
    done = {(training.key, training.seed) for training in view.pairs}
    open_claims = {verdict.claim.name for verdict in judge(view) if verdict.missing}
    wanted = {
        work.key
        for number in range(FEWEST_PAIRS // PER_ROUND)
        for claim in claims
        if claim.name in open_claims
        for work in works_of(claim, anchors, seed, number)
    }
    return len(wanted - done)


def row_of(
    order: TrainingOrder, work: PairTraining, data: Dataset, history: Sequence[EpochFigures]
) -> ModelRow | None:
    """The record of a paired training; None if it has no epoch.

    No model is stored or tested.
    """
    best = best_epoch(history, order.training.monitor)
    if best is None:
        return None
    return ModelRow(
        study=order.study,
        run=order.run(data),
        kind=KIND,
        title=order.title,
        spec=spec_of(order, work, data),
        trial=order.trial,
        parameters=count_parameters(order.model, data.input_shape, len(data.classes)),
        epochs=len(history),
        best_epoch=best.epoch,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        test_loss=math.nan,
        test_accuracy=math.nan,
        seconds=sum(figures.seconds for figures in history),
        seed=order.seed,
        path="",
        fingerprint=data.fingerprint,
    )


def spec_of(order: TrainingOrder, work: PairTraining, data: Dataset) -> str:
    """The spec of a paired training and its configuration, as JSON."""
    content = json.loads(document(order.model, order.training, order.seed, data))
    return json.dumps({**content, "params": dict(work.params)}, indent=2, ensure_ascii=False) + "\n"


def _round(anchors: Sequence[Anchor], seed: int, number: int) -> Iterator[tuple[Anchor, int]]:
    """The pairs of a round: the anchors, with a new seed in each round."""
    for index in range(PER_ROUND):
        anchor = anchors[index % len(anchors)]
        which = number if len(anchors) == PER_ROUND else number * PER_ROUND + index
        yield anchor, trial_seed(seed, FIRST_SEED + which)


def works_of(
    claim: Claim, anchors: Sequence[Anchor], seed: int, number: int
) -> Iterator[PairTraining]:
    """The trainings of one round of pairs for a claim, around each anchor."""
    for index, (anchor, pair_seed) in enumerate(_round(anchors, seed, number)):
        pair = number * PER_ROUND + index + 1
        if not claim.arms:
            title = f"{anchor.name}, pair {pair}"
            yield PairTraining(title, anchor.params, pair_seed, anchor.trial)
        for arm in claim.arms:
            params = arm.of(anchor.params)
            what = "" if params == anchor.params else f", {claim.name} {arm.label}"
            yield PairTraining(f"{anchor.name}{what}, pair {pair}", params, pair_seed, anchor.trial)


def _folders(study: optuna.Study) -> int | None:
    """Number of folders of the training images; None if they are not in the cache."""
    first = openings_of(study)[0]
    try:
        return len(Dataset.open(Path(first.decoded)).train.parts)
    except DataError:
        return None


def _finite(rows: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(row for row in rows if math.isfinite(row.val_loss))
