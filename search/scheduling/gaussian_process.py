"""A model of validation losses over configurations and epochs.

A Gaussian process over (configuration, epoch). It learns from curves of any length, including how
short trainings relate to long ones.

Symbols
    n       number of observations: losses of some configurations after some epochs
    d       number of features of a configuration
    X       (n, d) ``Points.features``: coordinates of the unit cube, 0 to 1, without unit; 0.5
            where a configuration lacks the parameter (``search.spaces.unit_cube``)
    z       (n,) ``Points.progress``: log(epoch) / log(most epochs), 0 to 1
    i       (n,) ``Points.owner``: number of the configuration
    y       (n,) ``losses``: scaled logarithms of losses, with mean about 0 and spread about 1 (in
            ``freeze_thaw``), or normal scores (in ``prior``)
    x, z, i and x', z', i'   those of one and of another observation
    l_1 … l_d, l   length scales of the features and of z, in the units of X and z
    a, c, b        variances, in the unit of y squared
    s              variance of the noise of one observation, in the unit of y squared
    k              ``CurveProcess.forgetting``, 1 or more, without unit; given, not fitted
    scales         (d + 5,) logarithms of l_1 … l_d, l, a, c, b, s, in this order

Model
    mean of y      0
    covariance     K(x, x') = (a M(r) + c) g(1) + b [i = i'] g(k)
                   with s more for an observation with itself
    distance       r = √ Σ ((x_j - x'_j) / l_j)²
    kernel         M(r) = (1 + √5 r + 5 r² / 3) exp(-√5 r), of Matérn's class, order 5/2
    along epochs   g(k) = exp(-k (z - z')² / 2 l²)

M lets similar configurations have similar losses, c lets all curves fall together, and b lets one
configuration deviate from the smooth surface; at larger k a deviation is forgotten sooner.

Posterior at points * given observations
    mean           K(*, X) (K(X, X) + s I)⁻¹ y
    variance       K(*, *) - K(*, X) (K(X, X) + s I)⁻¹ K(X, *), without noise

The scales are the most probable ones given y: those with the highest log marginal likelihood plus
log density of their priors, which are normal in the logarithms. Sources: Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006: posterior by Cholesky factor, algorithm 2.1; M,
equation 4.17; gradient of the likelihood, equation 5.9. Swersky et al., Freeze-Thaw Bayesian
Optimization, 2014, for the idea of paused curves in one process; its kernel differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

STEPS = 30  # optimiser steps per fit; each fit starts from the last scales
BELIEVED = 128  # most running trainings to condition on; the cost grows with their cube


@dataclass(frozen=True)
class Points:
    """Points at which losses are known or predicted.

    Attributes:
        features: (n, features) of the configurations, from 0 to 1.
        progress: (n,) log(epoch) / log(most epochs).
        owner: (n,) numbers of the configurations; negative if never trained.
    """

    features: Array
    progress: Array
    owner: npt.NDArray[np.int64]

    def __add__(self, other: "Points") -> "Points":
        return Points(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.progress, other.progress]),
            np.concatenate([self.owner, other.owner]),
        )

    def last(self, count: int) -> "Points":
        """The last ones, at most ``count``."""
        return Points(self.features[-count:], self.progress[-count:], self.owner[-count:])


class CurveProcess:
    """The model: fit its scales, condition it on losses, predict other losses.

    Attributes:
        scales: (features + 5,) logarithms of l_1 … l_d, l, a, c, b and s.
        forgetting: k; at 1 a deviation lasts as long as the surface.
    """

    def __init__(self, features: int, scales: Sequence[float] | None = None) -> None:
        """Create a model of that many features with the given scales, or their prior medians."""
        # For losses that vary by about 1: prior medians, and spreads of the logarithms.
        self._centre = np.log([0.7] * features + [0.7, 1.0, 0.3, 0.1, 0.01])
        self._spread = np.array([0.9] * features + [0.7, 0.7, 1.0, 1.0, 1.0])
        fits = scales is not None and len(scales) == features + 5
        self.scales = np.array(scales) if fits else self._centre.copy()
        self._features = features
        self.forgetting = 1.0

    def fit(self, points: Points, losses: Array) -> None:
        """Fit the scales to losses (n,) with mean about 0 and spread about 1."""
        low, high = self._centre - 4 * self._spread, self._centre + 4 * self._spread
        fitted = minimize(
            self._improbability,
            self.scales,
            args=(points, losses),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": STEPS},
        )
        self.scales = fitted.x

    def condition(self, points: Points, losses: Array) -> None:
        """Condition on losses (n,); with (n, kinds), on each kind separately."""
        covariance = self._kernel(points, points).total
        covariance[np.diag_indices(len(losses))] += np.exp(self.scales[-1])
        self._points, self._losses = points, losses
        self._factor = _cholesky(covariance)
        self._weights = cho_solve((self._factor, True), losses)

    def mean(self, points: Points) -> Array:
        """Mean of the losses at ``points``, (n,) or (n, kinds)."""
        return np.asarray(self._kernel(points, self._points).total @ self._weights)

    def predict(self, points: Points, *, smooth: bool = False) -> tuple[Array, Array]:
        """Mean and standard deviation (n,) of the losses at ``points``, without noise.

        Args:
            points: n points.
            smooth: Whether to leave out the deviations of single configurations from the surface.
                The points are then of configurations that were never trained.
        """
        covariance = self._kernel(points, self._points).total
        mean = covariance @ self._weights
        explained = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
        a, c, b = np.exp(self.scales[-4:-1])
        prior = a + c + (0.0 if smooth else b)
        variance = prior - np.einsum("kn,kn->n", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 1e-10))

    def left_out(self, points: Points, losses: Array) -> Array:
        """Forecasts (n,) of losses, each from those of other configurations.

        Args:
            points: n points with their losses.
            losses: (n,) the losses.
        """
        covariance = self._kernel(points, points).total
        covariance[np.diag_indices(len(losses))] += np.exp(self.scales[-1])
        inverse = cho_solve((_cholesky(covariance), True), np.eye(len(losses)))
        weights = inverse @ losses
        forecasts = np.empty(len(losses))
        for owner in np.unique(points.owner):
            rows = np.flatnonzero(points.owner == owner)
            surprise = np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows])
            forecasts[rows] = losses[rows] - surprise
        return forecasts

    def believe(self, points: Points) -> None:
        """Also condition on the predicted means at ``points``, for running trainings.

        Of more than BELIEVED, the last: callers name those last of which the model knows least.
        """
        points = points.last(BELIEVED)
        losses = np.concatenate([self._losses, self.mean(points)])
        self.condition(self._points + points, losses)

    def _kernel(self, one: Points, other: Points) -> "_Kernel":
        return _Kernel(self.scales, self.forgetting, one, other)

    def _improbability(self, scales: Array, points: Points, losses: Array) -> tuple[float, Array]:
        """Negative logarithm of the posterior density of ``scales``, and its gradient."""
        features = self._features
        kernel = _Kernel(scales, self.forgetting, points, points)
        noise = np.exp(scales[-1])
        covariance = kernel.total.copy()
        covariance[np.diag_indices(len(losses))] += noise
        try:
            factor = _cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(scales)
        weights = cho_solve((factor, True), losses)
        off = (scales - self._centre) / self._spread
        value = 0.5 * losses @ weights + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        inverse = cho_solve((factor, True), np.eye(len(losses)))
        change = 0.5 * (inverse - np.outer(weights, weights))  # d value / d covariance
        gradient = off / self._spread
        by_distance = change * kernel.along * kernel.slope
        rows = by_distance.sum(axis=1)
        for n in range(features):
            x = kernel.scaled[:, n]
            gradient[n] += 2 * (rows @ (x * x) - x @ by_distance @ x)
        lasting = (kernel.surface + self.forgetting * kernel.own) * kernel.apart**2
        gradient[features] += (change * lasting).sum()
        a, c = np.exp(scales[features + 1 : features + 3])
        shared = change * kernel.along
        gradient[features + 1] += (shared * a * kernel.matern).sum()
        gradient[features + 2] += c * shared.sum()
        gradient[features + 3] += (change * kernel.own).sum()
        gradient[features + 4] += np.trace(change) * noise
        return float(value), gradient


class _Kernel:
    """The covariance between two sets of points, with the parts that its gradient needs.

    Decisions spend most of their time here: hence the in-place sums, gradient parts only on demand,
    and one row for all points of an epoch.
    """

    def __init__(self, scales: Array, forgetting: float, one: Points, other: Points) -> None:
        features = one.features.shape[1]
        lengths = np.exp(scales[:features])
        self._a, c, b = np.exp(scales[features + 1 : features + 4])
        self.scaled, there = one.features / lengths, other.features / lengths
        r = self.scaled @ (-2 * there.T)
        r += (self.scaled**2).sum(axis=1)[:, None]
        r += (there**2).sum(axis=1)
        np.maximum(r, 0.0, out=r)
        r *= 5
        self._r = np.sqrt(r, out=r)
        self._falling = np.exp(-r)
        self.matern = r / 3
        self.matern += 1
        self.matern *= r
        self.matern += 1
        self.matern *= self._falling
        epochs, self._epoch = np.unique(one.progress, return_inverse=True)
        self._apart = (epochs[:, None] - other.progress) / np.exp(scales[features])
        self.along = np.exp(-0.5 * self._apart**2)[self._epoch]
        self.surface = self._a * self.matern
        self.surface += c
        self.surface *= self.along
        self.own = b * np.exp(-0.5 * forgetting * self._apart**2)[self._epoch]
        self.own *= one.owner[:, None] == other.owner
        self.total = self.surface + self.own

    @property
    def slope(self) -> Array:
        """Minus twice the derivative of a M by the squared distance."""
        return np.asarray(self._a * 5 / 3 * (1 + self._r) * self._falling)

    @property
    def apart(self) -> Array:
        """(z - z') / l."""
        return np.asarray(self._apart[self._epoch])


def _cholesky(matrix: Array) -> Array:
    factor, trouble = dpotrf(matrix, lower=1)
    if trouble:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    return np.asarray(factor)
