"""Warm start of a search from curves recorded on other images.

Which learning rate or dropout rate is good differs less between sets of images than between rates
(docs/decisions/0017-prior.md). The prior transfers which configuration is better after which part
of its training, but not by how many nats: losses count by their rank after the same epoch.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.special import ndtri

from data.catalog import located
from search.errors import SettingsError
from search.scheduling.curves import LEAST, Curves, read
from search.scheduling.gaussian_process import CurveProcess, Points
from search.scheduling.rungs import STARTUP
from search.spaces.unit_cube import Array, UnitCube

RECORDED = Path(__file__).with_name("prior.json")
"""Curves of the documents' space on scikit-learn's handwritten digits, written by
``treino record --data digits --image-size 16 --configurations 120``.
"""

DRAWN = 5000  # configurations of the space that are ranked by the prior alone
GOOD = 0.001  # best share of the space that is not judged by its first epochs
CAUTIOUS_TRAININGS = 40  # full trainings after which a search is as bold as one without a prior


class Prior:
    """The empty prior: every configuration is expected to be equally good.

    Attributes:
        startup: Trials to start before a model of the search's own losses decides.
        good: Threshold of the final score from ``expect``: configurations at or below it are not
            judged by their first epochs.
        source: The source of the prior; empty if there is none.
        reason: The reason stored with a trial that the prior chose.
    """

    startup = STARTUP
    good = -math.inf
    source = ""
    reason = ""

    def expect(self, points: Array, progress: Array) -> Array:
        """Normal scores (n,) of configurations after part of their training; low is good.

        Args:
            points: (n, parameters) of the search's space (``search.spaces.unit_cube``).
            progress: (n,) log(epoch) / log(most epochs), for trainings of any length.
        """
        return np.zeros(len(points))

    def doubt(self, full: float) -> float:
        """Share of bold choices, 0 to 1, after that many full trainings."""
        return 1.0


class RecordedPrior(Prior):
    """A prior from recorded curves: a Gaussian process of their scores.

    Args:
        curves: The record.
        distributions: The search's space: the record's parameters, with any ranges.
    """

    startup = 3

    def __init__(self, curves: Curves, distributions: Mapping[str, BaseDistribution]) -> None:
        images = curves.data.rpartition(" ")[0] or curves.data  # without their fingerprint
        self.source = f"{len(curves.configurations)} trainings on {images}"
        self.reason = f"expected to do well by the curves recorded on {images}"
        self._here = UnitCube(distributions)
        self._there = UnitCube(curves.ranges)
        self._epochs = curves.epochs
        scores = normal_scores(np.minimum.accumulate(curves.table(), axis=1))
        recorded = [self._there.of(curve.params) for curve in curves.configurations]
        known = self._finished(np.array(recorded), np.arange(len(recorded)))
        # One model for all epochs, with scales fitted at the last epoch.
        self._model = CurveProcess(self._there.feature_count)
        self._model.fit(known, scores[:, -1])
        self._model.condition(known, scores)
        anywhere = self._here.uniform(DRAWN, np.random.default_rng(0))
        expected = self.expect(anywhere, np.ones(DRAWN))
        # And a little more: the last bits of a prediction depend on the batch it is made in.
        self.good = float(np.quantile(expected, GOOD)) + 1e-9

    def expect(self, points: Array, progress: Array) -> Array:
        """See Prior; mean 0 and spread 1 or less over the recorded configurations."""
        asked = self._here.moved(points, self._there)
        scores = self._model.mean(self._finished(asked, np.full(len(asked), -1)))
        before = np.exp(progress * math.log(self._epochs)) - 1  # epochs, the first counted 0
        left = np.clip(before.astype(np.int64), 0, self._epochs - 2)
        share, rows = before - left, np.arange(len(points))
        return np.asarray((1 - share) * scores[rows, left] + share * scores[rows, left + 1])

    def doubt(self, full: float) -> float:
        """See Prior: recorded curves replace bold choices while they still apply."""
        return min(full / CAUTIOUS_TRAININGS, 1.0)

    def _finished(self, points: Array, owners: npt.NDArray[np.int64]) -> Points:
        """Points (n, parameters) of the record's space at their last epoch."""
        ends, nothing = np.ones(len(points)), np.zeros(len(points))
        return Points(self._there.features(points), ends, owners, nothing)


def prior_of(name: str, distributions: Mapping[str, BaseDistribution]) -> Prior:
    """The prior for a space.

    Args:
        name: ``none``; ``auto``: treino's own record, if the space has its parameters; or a file
            that treino record wrote.
        distributions: The space.

    Raises:
        TreinoError: The file cannot be read, or has other parameters.
    """
    if name == "none":
        return Prior()
    curves = _read(RECORDED if name == "auto" else located(name))
    there, here = _choices(curves.ranges), _choices(distributions)
    if name == "auto":
        return RecordedPrior(curves, distributions) if there == here else Prior()
    if there != here:
        other = [each for each in {**there, **here} if there.get(each) != here.get(each)]
        raise SettingsError(
            f"--prior {name}: expected the parameters of this space, with the same choices; "
            f"these differ: {', '.join(other)}"
        )
    if curves.epochs < 2 or len(curves.configurations) < LEAST:
        raise SettingsError(
            f"--prior {name}: expected at least {LEAST} configurations of two or more epochs; it "
            f"has {len(curves.configurations)} with {curves.epochs}"
        )
    return RecordedPrior(curves, distributions)


def normal_scores(table: Array) -> Array:
    """Normal scores of each column of a table (rows, columns), by rank; lowest stays lowest."""
    ranks = table.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.asarray(ndtri((ranks + 0.5) / len(table)))


def _choices(ranges: Mapping[str, BaseDistribution]) -> dict[str, tuple[object, ...]]:
    """The parameters, with their choices if they have choices instead of a range."""
    return {
        name: range_.choices if isinstance(range_, CategoricalDistribution) else ()
        for name, range_ in ranges.items()
    }


@cache
def _read(path: Path) -> Curves:
    return read(path)
