"""Tests the report's claims: an effect with its interval, and a verdict.

Pure: ``judge`` takes plain values. There are two kinds of evidence, never mixed within a claim:

- Paired trainings, which differ in one thing only and have the same seed. They are used wherever
  there are enough: no sampler chose them and no pruner ended them.
- The study's own trials, by a regression that adjusts for the other parameters. They are used only
  if nine in ten of them reached half of the study's epochs or more: a pruner selects by loss, and
  an early epoch says little about a late one.

See docs/decisions/0013-claims.md.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from search.claims import contrasts
from search.claims.catalog import CLAIMS, Claim, EpochLike
from search.intervals import (
    FEWEST_PAIRS,
    LOOKS,
    Estimate,
    of_differences,
    of_regression,
    pairs_needed,
)
from search.spaces.unit_cube import Params

MOST_PAIRS = FEWEST_PAIRS + 2 * (LOOKS - 1)
HOPELESS = 10 * MOST_PAIRS  # if that many pairs are needed, no more are trained
REACHED = 0.9  # share of the trials that must have reached the compared epoch

Word = Literal["supported", "contradicted", "not enough data"]
Key = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Training:
    """A configuration and its epochs.

    Attributes:
        name: Its name.
        params: The configuration; ``train_order`` may be one of its parameters.
        figures: Its epochs, first to last.
        ended: Whether it ended by itself, so that its last figures are final.
        seed: Seed shared with the trainings it is paired with; None for a trial.
    """

    name: str
    params: Params
    figures: Sequence[EpochLike]
    ended: bool
    seed: int | None = None

    @property
    def key(self) -> Key:
        """The configuration as a lookup key."""
        return key(self.params)

    def up_to(self, epoch: int) -> Sequence[EpochLike]:
        """Its epochs up to that one; the last one repeats if it ended earlier."""
        last = self.figures[-1:]
        return [*self.figures[:epoch], *(list(last) * (epoch - len(self.figures)))]


@dataclass(frozen=True)
class StudyView:
    """The data that claims are judged by.

    Attributes:
        name: The study.
        epochs: Maximum epochs of a trial, and epochs of paired trainings.
        trials: Its trials, whatever their state; without duplicates and trials that never trained.
        pairs: Paired trainings.
        order: The training order of its trials.
        folders: Number of folders of the training images; None if unknown.
    """

    name: str
    epochs: int
    trials: Sequence[Training] = ()
    pairs: Sequence[Training] = ()
    order: str = "together"
    folders: int | None = None


@dataclass(frozen=True)
class Effect:
    """The estimated effect of one contrast; ``estimate`` is None without data."""

    label: str
    estimate: Estimate | None


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim.

    Attributes:
        claim: The claim.
        word: The verdict.
        effects: One for each contrast, in order.
        source: Its evidence: ``pairs``, ``trials``, or empty.
        epoch: The epoch at which trainings were compared; 0 without any.
        settle: What would settle it; empty if it is settled.
        missing: Pairs still needed before the next test; 0 if settled, or if it would need more
            pairs than treino trains.
    """

    claim: Claim
    word: Word
    effects: tuple[Effect, ...]
    source: Literal["pairs", "trials", ""]
    epoch: int
    settle: str = ""
    missing: int = 0

    @property
    def deciding(self) -> Estimate | None:
        """The effect that decides the verdict: the worst of several, or the best if one is enough.

        None if unknown.
        """
        estimates = [effect.estimate for effect in self.effects]
        if None in estimates and self.claim.every:
            return None
        end = 1 if self.word == "contradicted" else 0
        ends = [(_towards(self.claim, e)[end], e) for e in estimates if e is not None]
        choose = min if self.claim.every else max
        return choose(ends, key=lambda pair: pair[0])[1] if ends else None

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values for JSON; unknown or unbounded values are None."""
        estimate = self.deciding
        return {
            "name": self.claim.name,
            "claim": self.claim.text,
            "verdict": self.word,
            **_numbers(estimate),
            "unit": self.claim.unit,
            "measured": self.claim.measured,
            "n": estimate.n if estimate and self.source == "trials" else 0,
            "pairs": estimate.n if estimate and self.source == "pairs" else 0,
            "source": self.source or None,
            "epoch": self.epoch or None,
            "contrasts": [
                {"contrast": effect.label, **_numbers(effect.estimate)} for effect in self.effects
            ],
            "settle": self.settle,
            "caveat": self.claim.caveat,
        }


def key(params: Params) -> Key:
    """A configuration as a lookup key."""
    return tuple(sorted(params.items()))


def judge(view: StudyView) -> list[ClaimVerdict]:
    """A verdict for each of CLAIMS, in their order.

    Each claim's intervals hold jointly with probability 0.95; those of all seven claims do not.
    """
    return [_judged(view, claim) for claim in CLAIMS]


def compared(view: StudyView, claim: Claim) -> list[list[float]]:
    """Outcomes of the paired trainings: a value per arm for each family, NaN if missing.

    A claim without arms has one value per training that has a trial's or run 10's configuration.
    """
    if not claim.arms:
        return [[claim.measure(training.up_to(view.epochs))] for training in plain(view)]
    trainings = {(training.key, training.seed): training for training in view.pairs}
    families = {}
    for base in view.pairs:
        of_arms = [trainings.get((key(arm.of(base.params)), base.seed)) for arm in claim.arms]
        names = tuple(training.name if training else "" for training in of_arms)
        if sum(map(bool, names)) > 1:
            families[names] = [
                claim.measure(t.up_to(view.epochs)) if t else math.nan for t in of_arms
            ]
    return list(families.values())


def plain(view: StudyView) -> list[Training]:
    """The paired trainings whose configuration is a trial's or run 10's, in the study's order."""
    tried = {trial.key for trial in view.trials} | {key(contrasts.RUN_10)}
    return [
        training
        for training in view.pairs
        if key(without_order(training.params)) in tried
        and training.params.get(contrasts.ORDER, view.order) == view.order
    ]


def differences(view: StudyView, claim: Claim) -> list[list[float]]:
    """The differences within pairs for each contrast of a claim, in the claim's unit."""
    families = compared(view, claim)
    if not claim.arms:
        return [[value for (value,) in families if math.isfinite(value)]]
    per_contrast = []
    for contrast in claim.contrasts:
        of_all = [(f[contrast.this] - f[contrast.that]) / contrast.steps for f in families]
        per_contrast.append([difference for difference in of_all if math.isfinite(difference)])
    return per_contrast


def common_epoch(view: StudyView) -> int:
    """The last epoch that nine in ten trials reached; 0 if too few or too early."""
    reach = sorted(
        (view.epochs if trial.ended else len(trial.figures) for trial in view.trials), reverse=True
    )
    if not reach:
        return 0
    epoch = reach[math.ceil(REACHED * len(reach)) - 1]
    return epoch if 2 * epoch >= view.epochs else 0


def outcomes(view: StudyView, claim: Claim, epoch: int) -> Iterator[tuple[Training, float]]:
    """The trials that reached an epoch, each with its outcome there."""
    for trial in view.trials:
        if trial.figures and (trial.ended or len(trial.figures) >= epoch):
            outcome = claim.measure(trial.up_to(epoch))
            if math.isfinite(outcome):
                yield trial, outcome


def without_order(params: Params) -> Params:
    """A configuration without the order of training, which is not a trial parameter."""
    return {name: value for name, value in params.items() if name != contrasts.ORDER}


def _judged(view: StudyView, claim: Claim) -> ClaimVerdict:
    paired = _from_pairs(view, claim)
    if all(e is not None and e.n >= FEWEST_PAIRS for e in paired):
        return _verdict(view, claim, paired, "pairs", view.epochs)
    epoch = common_epoch(view)
    by_trials = _from_trials(view, claim, epoch) if epoch else [None]
    if all(e is not None for e in by_trials):
        return _verdict(view, claim, by_trials, "trials", epoch)
    some = any(e is not None for e in paired)
    return _verdict(view, claim, paired, "pairs" if some else "", view.epochs if some else 0)


def _from_pairs(view: StudyView, claim: Claim) -> list[Estimate | None]:
    return [of_differences(of_claim, len(claim.contrasts)) for of_claim in differences(view, claim)]


def _from_trials(view: StudyView, claim: Claim, epoch: int) -> list[Estimate | None]:
    of_trials = list(outcomes(view, claim, epoch))
    if not claim.arms:
        values = np.array([outcome for _, outcome in of_trials])
        return of_regression(np.ones((len(of_trials), 1)), values, np.ones((1, 1)))
    # Trials of another space cannot be converted to these features.
    of_trials = [
        (t, outcome) for t, outcome in of_trials if t.params.keys() == contrasts.RUN_10.keys()
    ]
    rows = [contrasts.features(trial.params) for trial, _ in of_trials]
    numbers = [np.array(contrasts.features(arm.of(contrasts.RUN_10))) for arm in claim.arms]
    return of_regression(
        np.reshape(np.array(rows), (len(rows), len(numbers[0]))),
        np.array([outcome for _, outcome in of_trials]),
        np.array([(numbers[c.this] - numbers[c.that]) / c.steps for c in claim.contrasts]),
        len(claim.contrasts),
    )


def _verdict(
    view: StudyView,
    claim: Claim,
    estimates: Sequence[Estimate | None],
    source: Literal["pairs", "trials", ""],
    epoch: int,
) -> ClaimVerdict:
    effects = tuple(
        Effect(contrast.label, estimate)
        for contrast, estimate in zip(claim.contrasts, estimates, strict=True)
    )
    enough = [_towards(claim, e) if e is not None else (-math.inf, math.inf) for e in estimates]
    word: Word = "not enough data"
    as_claimed, not_so = (all, any) if claim.every else (any, all)
    if as_claimed(low > 0 for low, _ in enough):
        word = "supported"
    elif not_so(high < 0 for _, high in enough):
        word = "contradicted"
    verdict = ClaimVerdict(claim, word, effects, source, epoch)
    if word != "not enough data":
        return verdict
    missing, settle = _what_is_lacking(view, claim, _from_pairs(view, claim))
    return replace(verdict, settle=settle, missing=missing)


def _what_is_lacking(
    view: StudyView, claim: Claim, paired: Sequence[Estimate | None]
) -> tuple[int, str]:
    """Number of further pairs that would settle a claim, and a sentence about it."""
    if claim.name == "order" and view.folders == 1:
        return 0, "images in several training folders; these are in one"
    have = min((e.n if e else 0 for e in paired), default=0)
    what = "pair" if claim.arms else "full training"
    if have < FEWEST_PAIRS:
        lacking = FEWEST_PAIRS - have
        return lacking, f"{_count(lacking, what)} of {view.epochs} epochs for a first look"
    comparisons = len(claim.contrasts)
    estimates = [e for e in paired if e is not None]
    most = max if claim.every else min
    needed = most(pairs_needed(e.effect, e.spread, comparisons) for e in estimates)
    if have >= MOST_PAIRS or needed > HOPELESS:
        bound = max(max(abs(e.low), abs(e.high)) for e in estimates)
        return 0, (
            f"about {needed:,} {what}s, more than treino trains: if there is an effect, it is at "
            f"most {bound:.2g} {claim.unit}"
        )
    lacking = max(1, needed - have)
    return (
        lacking,
        f"about {_count(lacking, f'further {what}')}, if effect and spread stay the same",
    )


def _towards(claim: Claim, estimate: Estimate) -> tuple[float, float]:
    """The interval, with its sign set so that the claim expects it above zero."""
    ends = (claim.sign * estimate.low, claim.sign * estimate.high)
    return min(ends), max(ends)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _numbers(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"effect": None, "low": None, "high": None}
    return {
        "effect": estimate.effect,
        "low": estimate.low if math.isfinite(estimate.low) else None,
        "high": estimate.high if math.isfinite(estimate.high) else None,
    }
