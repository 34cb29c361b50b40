"""Warm start of a search from curves recorded on other images.

Which learning rate or dropout rate is good differs less between sets of images than between rates
(docs/decisions/0017-prior.md). The prior transfers which configuration is better after which part
of its training, but not by how many nats: losses count by their rank after the same epoch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from scipy.special import ndtri

from data.catalog import located
from search.errors import SettingsError
from search.scheduling.curves import LEAST, Curves, read
from search.scheduling.gaussian_process import CurveProcess, Points
from search.scheduling.rungs import STARTUP
from search.scheduling.trust import agreement
from search.spaces.unit_cube import Array, Params, UnitCube, shared

SHIPPED = Path(__file__).with_name("priors")
"""Curves that ``treino record`` wrote, of several sets of images (benchmarks/LOG.md)."""

MOST_CURVES = 200  # of a source; the time to fit its model grows with the cube
STARTUP_WITH_PRIOR = 6  # trials to start before a model of the search's own losses decides


class Source:
    """Recorded curves as a forecast of ranks: a Gaussian process of their scores.

    It knows the parameters that both spaces have (``search.spaces.unit_cube.shared``).

    Attributes:
        name: Its size and where it is from.
        configurations: The recorded configurations.
        lowest: (configurations,) the lowest loss of each.

    Args:
        curves: The record.
        distributions: The search's space.
        study: The study whose trials it has; empty for a file.
    """

    def __init__(
        self, curves: Curves, distributions: Mapping[str, BaseDistribution], study: str = ""
    ) -> None:
        images = curves.data.rpartition(" ")[0] or curves.data  # without their fingerprint
        where = f"of study {study!r}" if study else f"on {images}"
        names = shared(distributions, curves.ranges)
        self._here = UnitCube(distributions)
        self._there = UnitCube({name: curves.ranges[name] for name in names})
        self._epochs = curves.epochs
        kept = slice(None, None, math.ceil(len(curves.configurations) / MOST_CURVES))
        self.configurations = [curve.params for curve in curves.configurations[kept]]
        self.name = f"{len(self.configurations)} trainings {where}"
        table = np.minimum.accumulate(curves.table()[kept], axis=1)
        self.lowest = table[:, -1]
        scores = normal_scores(table)
        points = self._finished(self._points(self.configurations), np.arange(len(scores)))
        # One model for all epochs, with scales fitted at the last epoch.
        self._model = CurveProcess(self._there.feature_count)
        self._model.fit(points, scores[:, -1])
        self._model.condition(points, scores)

    def expect(self, points: Array, progress: Array) -> Array:
        """Normal scores (n,) of configurations after part of their training; low is good.

        Args:
            points: (n, parameters) of the search's space (``search.spaces.unit_cube``).
            progress: (n,) log(epoch) / log(most epochs), for trainings of any length.

        Returns:
            Scores with mean 0 and spread 1 or less over the recorded configurations.
        """
        scores = self._scores(self._here.moved(points, self._there))
        before = np.exp(progress * math.log(self._epochs)) - 1  # epochs, the first counted 0
        left = np.clip(before.astype(np.int64), 0, self._epochs - 2)
        share, rows = before - left, np.arange(len(points))
        return np.asarray((1 - share) * scores[rows, left] + share * scores[rows, left + 1])

    def agreement(self, other: "Source") -> float:
        """How well it ranks the configurations of another source, 0 (as chance does) to 1."""
        both = zip(other.configurations, other.lowest, strict=True)
        placed = [(params, loss) for params, loss in both if self._there.holds(params)]
        if len(placed) < LEAST:
            return 0.0
        configurations, lowest = zip(*placed, strict=True)
        scores = self._scores(self._points(configurations))[:, -1:]
        return float(agreement(scores, np.array(lowest))[0])

    def _points(self, configurations: Sequence[Params]) -> Array:
        return np.array([self._there.of(params) for params in configurations])

    def _scores(self, points: Array) -> Array:
        """Scores (n, epochs) of points (n, parameters) of the record's space."""
        return self._model.mean(self._finished(points, np.full(len(points), -1)))

    def _finished(self, points: Array, owners: npt.NDArray[np.int64]) -> Points:
        """Points (n, parameters) of the record's space at their last epoch."""
        return Points(self._there.features(points), np.ones(len(points)), owners)


class Prior:
    """What recorded curves say about a search's space. Without sources it says nothing.

    Attributes:
        names: Names of the sources, all different.
        trust: (sources,) weights of the sources before the search has losses of its own: by how
            well each ranks what the others recorded. Their sum is 1.
    """

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._sources = sources
        self.names = _distinct([source.name for source in sources])
        agreed = [
            sum(one.agreement(other) for other in sources if other is not one) for one in sources
        ]
        # A source of which the others know nothing counts a little.
        weights = np.array(agreed, dtype=np.float64) + 0.1
        self.trust = weights / max(weights.sum(), 1e-9)

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def startup(self) -> int:
        """Trials to start before a model of the search's own losses decides."""
        return STARTUP_WITH_PRIOR if self._sources else STARTUP

    def __str__(self) -> str:
        """What it is made of; empty if there is nothing."""
        if len(self._sources) < 3:
            return " and ".join(self.names)
        count = sum(len(source.configurations) for source in self._sources)
        return f"{count} recorded trainings of {len(self._sources)} sources"

    def expect(self, points: Array, progress: Array) -> Array:
        """Normal scores (n, sources), each as of ``Source.expect``."""
        scores = [source.expect(points, progress) for source in self._sources]
        return np.reshape(np.transpose(scores), (len(points), len(self._sources)))


def prior_of(
    name: str,
    distributions: Mapping[str, BaseDistribution],
    *,
    studies: Mapping[str, Curves] = MappingProxyType({}),
) -> Prior:
    """The prior for a space.

    Args:
        name: ``none``; ``auto``: the studies, and treino's own records; or a file that treino
            record wrote.
        distributions: The space. Curves with less than half of its parameters are left out.
        studies: Curves of other studies, by name.

    Raises:
        TreinoError: The file cannot be read, or does not fit.
    """
    if name == "none":
        return Prior()
    if name == "auto" and not studies:
        return _own_prior(tuple(distributions.items()))
    if name == "auto":
        theirs = [Source(studies[name], distributions, name) for name in studies]
        return Prior([*theirs, *(Source(each, distributions) for each in shipped(distributions))])
    curves = _read(located(name))
    if not fits(curves, distributions):
        names = shared(distributions, curves.ranges)
        missing = [each for each in distributions if each not in names]
        raise SettingsError(
            f"--prior {name}: expected at least half of the parameters of this space, with their "
            f"choices; these are missing or differ: {', '.join(missing)}"
        )
    if not _can_be_fitted(curves):
        raise SettingsError(
            f"--prior {name}: expected at least {LEAST} configurations of two or more epochs; it "
            f"has {len(curves.configurations)} with {curves.epochs}"
        )
    return Prior([Source(curves, distributions)])


@cache
def _own_prior(space: tuple[tuple[str, BaseDistribution], ...]) -> Prior:
    """The prior of treino's own records: fitting their models takes a few tenths of a second."""
    distributions = dict(space)
    return Prior([Source(each, distributions) for each in shipped(distributions)])


def shipped(distributions: Mapping[str, BaseDistribution], without: str = "") -> list[Curves]:
    """The curves that come with treino, fit a space and vary mostly in its parameters.

    Args:
        distributions: The space.
        without: Name of images; records of them and of parts of them are left out.
    """
    records = [_read(path) for path in sorted(SHIPPED.glob("*.json"))]
    kept = [one for one in records if not without or _set_of(one.data) != _set_of(without)]
    return [each for each in kept if fits(each, distributions) and _is_of(each, distributions)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind each that came before."""
    counts = [names[:n].count(name) for n, name in enumerate(names)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(names, counts, strict=True)]


def trusted_in(memory: Mapping[str, Any]) -> dict[str, float]:
    """How far each source of recorded curves is trusted, by its name.

    Args:
        memory: What a chooser has learned (``search.scheduling.chooser.Chooser.memory``).
    """
    prior = memory.get("prior") or {}
    return prior if isinstance(prior, dict) else {str(prior): 1.0}  # a text of earlier versions


def judged_in(memory: Mapping[str, Any]) -> dict[str, float]:
    """``trusted_in``; empty before the study has losses to judge by."""
    told = memory.get("losses") and isinstance(memory.get("prior"), dict)
    return trusted_in(memory) if told else {}


def told_trust(trusted: Mapping[str, float]) -> str:
    """One line: how far recorded curves are trusted, and which most."""
    name = max(trusted, key=lambda name: trusted[name])
    total = f"recorded curves are trusted {sum(trusted.values()):.0%}"
    several = len(trusted) > 1 and trusted[name] > 0
    return f"{total}; the most: {name}, {trusted[name]:.0%}" if several else total


def is_enough(curves: Curves, distributions: Mapping[str, BaseDistribution]) -> bool:
    """Whether curves are enough for a prior of a space, and know half of its parameters."""
    return _can_be_fitted(curves) and fits(curves, distributions)


def _can_be_fitted(curves: Curves) -> bool:
    return curves.epochs >= 2 and len(curves.configurations) >= LEAST


def fits(curves: Curves, distributions: Mapping[str, BaseDistribution]) -> bool:
    """Whether recorded curves know at least half of a space's parameters."""
    return 2 * len(shared(distributions, curves.ranges)) >= len(distributions)


def _is_of(curves: Curves, distributions: Mapping[str, BaseDistribution]) -> bool:
    """Whether a space has at least half of the parameters that vary in the curves."""
    return 2 * len(shared(distributions, curves.ranges)) >= len(curves.ranges)


def normal_scores(table: Array) -> Array:
    """Normal scores of each column of a table (rows, columns), by rank; lowest stays lowest."""
    ranks = table.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.asarray(ndtri((ranks + 0.5) / len(table)))


def _set_of(images: str) -> str:
    """The set of images that a named set is a part of: ``cifar10`` of ``cifar10-small 5f1e``."""
    return re.split(r"[\s-]", images, maxsplit=1)[0]


@cache
def _read(path: Path) -> Curves:
    return read(path)
