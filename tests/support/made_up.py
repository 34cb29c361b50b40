"""Made-up studies of which the truth is known: searches and paired trainings as numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.claims import contrasts
from search.claims.catalog import CLAIMS, LAST
from search.claims.pairing import Anchor, works_of
from search.claims.verdicts import StudyView, Training

EPOCHS = 20


@dataclass(frozen=True)
class Figures:
    """The figures of an epoch that a claim looks at."""

    accuracy: float
    val_accuracy: float
    val_loss: float


@dataclass(frozen=True)
class Truth:
    """How strongly the things that the claims are about matter; zero is not at all.

    Attributes:
        batch: Points of accuracy for a doubling of the batch.
        filters: Points that 256 filters are better than 128 and 512.
        dropout: Nats of overfitting that dropout takes away.
        l2: Points of accuracy that L2 brings.
        norm: Points that batch normalisation brings.
        others_fit: Nats of overfitting that L2 takes away, and batch normalisation.
        epochs: Points that the second half of the epochs brings.
        rate: Points of speed for a tenfold learning rate, below and above 0.001.
        order: Points of training folder by folder.
        noise: Points by which two trainings of the same differ.
        others: Whether what no claim is about matters: blocks, the amount of dropout.
    """

    batch: float = 0.0
    filters: float = 0.0
    dropout: float = 0.0
    l2: float = 0.0
    norm: float = 0.0
    others_fit: tuple[float, float] = (0.0, 0.0)
    epochs: float = 0.0
    rate: tuple[float, float] = (0.0, 0.0)
    order: float = 0.0
    noise: float = 0.7
    others: bool = True

    def curve(self, params: Mapping[str, Any], random: np.random.Generator) -> list[Figures]:
        """A training of EPOCHS epochs: accuracy grows to half-way, then by what ``epochs`` says."""
        on_l2 = params["l2_conv"] >= contrasts.LEAST_L2 or params["l2_dense"] >= contrasts.LEAST_L2
        dropped = params["dropout_blocks"] >= contrasts.FEWEST_DROPPED
        decades = math.log10(params["learning_rate"] / 1e-3)
        level = 75.0 + self.noise * random.normal()
        level += self.batch * math.log2(params["batch_size"] / 32)
        level += self.filters * (params["last_filters"] == 256)
        level += self.l2 * on_l2 + self.norm * params["batch_norm"]
        level += self.order * (params.get(contrasts.ORDER) == "folders")
        level += self.rate[0] * min(decades, 0) + self.rate[1] * max(decades, 0)
        if self.others:
            level -= 1.5 * (params["blocks"] - 3.5) ** 2 + 8 * (params["dropout_dense"] - 0.4) ** 2
        rise = 0.5 + 0.05 * self.noise * random.normal()
        rise -= self.dropout * dropped
        rise -= self.others_fit[0] * on_l2 + self.others_fit[1] * params["batch_norm"]
        lowest = 2.0 - level / 60  # the better, the lower: what a pruner goes by
        half = EPOCHS // 2
        figures = []
        for epoch in range(1, EPOCHS + 1):
            grown = 1 - math.exp(-0.7 * epoch) if epoch < half - LAST else 1.0
            later = self.epochs * max(epoch - half, 0) / half
            accuracy = level * grown + later + 0.3 * self.noise * random.normal()
            loss = lowest + 0.3 * (1 - grown) + max(rise, 0) * max(epoch - half, 0) / half
            figures.append(Figures(accuracy / 100 + 0.05, accuracy / 100, loss))
        return figures


def trial_params(random: np.random.Generator, good: Mapping[str, Any] | None) -> dict[str, Any]:
    """A configuration: of all of the space, or near a good one, as a sampler proposes them."""
    params: dict[str, Any] = {
        "blocks": int(random.integers(2, 6)),
        "last_filters": int(random.choice([128, 256, 512])),
        "batch_norm": bool(random.random() < 0.5),
        "dropout_first": float(random.uniform(0, 0.6)),
        "dropout_blocks": float(random.uniform(0, 0.6)),
        "dropout_dense": float(random.uniform(0, 0.7)),
        "l2_conv": float(10 ** random.uniform(-8, -1)),
        "l2_dense": float(10 ** random.uniform(-8, -1)),
        "batch_size": int(random.choice([32, 64, 128, 256])),
        "learning_rate": float(10 ** random.uniform(-4, -2)),
    }
    if good is not None:
        params |= {name: good[name] for name in params if random.random() < 0.6}
    return params


def searched(
    truth: Truth, trials: int, random: np.random.Generator, *, pruned: float = 0.0
) -> list[Training]:
    """A search: after ten trials half of the proposals are near the best; the worst are pruned.

    Args:
        truth: What matters.
        trials: How many.
        random: Where chance comes from.
        pruned: Share of the trials that a pruner ends after a quarter of the epochs.
    """
    made: list[Training] = []
    for number in range(trials):
        good = None
        if number >= 10 and random.random() < 0.5:
            good = min(made, key=lambda t: min(e.val_loss for e in t.figures)).params
        params = trial_params(random, good)
        curve = truth.curve(params, random)
        early = [min(e.val_loss for e in other.figures[:5]) for other in made]
        worse = np.mean([loss < curve[4].val_loss for loss in early]) if early else 0.0
        over = worse > 1 - pruned
        made.append(Training(f"trial-{number}", params, curve[:5] if over else curve, not over))
    return made


def paired(truth: Truth, pairs: int, random: np.random.Generator) -> list[Training]:
    """Every training that the claims ask for, around run 10, of so many seeds."""
    anchor = Anchor("run 10", {**contrasts.RUN_10, contrasts.ORDER: "together"})
    works = {
        work.key: work
        for claim in CLAIMS
        for number in range(math.ceil(pairs / 2))
        for work in works_of(claim, [anchor], 0, number)
    }
    seeds = sorted({work.seed for work in works.values()}, key=str)[:pairs]
    return [
        Training(f"pair-{n}", work.params, truth.curve(work.params, random), True, work.seed)
        for n, work in enumerate(works.values())
        if work.seed in seeds
    ]


def study(
    truth: Truth, *, trials: int = 0, pairs: int = 0, seed: int = 0, pruned: float = 0.0
) -> StudyView:
    """A made-up study."""
    random = np.random.default_rng(seed)
    return StudyView(
        "made-up",
        EPOCHS,
        searched(truth, trials, random, pruned=pruned),
        paired(truth, pairs, random),
    )
