"""Confidence intervals: of a share, of paired differences, of a regression over trials; spread."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Array = npt.NDArray[np.float64]

LEVEL = 0.05  # probability that an interval misses the true effect
WIDE = 0.05  # width of a share's interval above which treino says that images are few

# Pairs are tested again after every round, and training stops once there is a verdict. Intervals at
# this nominal level hold jointly at five such looks with probability 0.95 (Pocock, Group sequential
# methods in the design and analysis of clinical trials, Biometrika 64, 1977, table 1; as intervals:
# Jennison and Turnbull, Group Sequential Methods with Applications to Clinical Trials, 2000,
# chapter 9).
LOOKS = 5
LEVEL_OF_A_LOOK = 0.0158

FEWEST_PAIRS = 4  # at the first look
FEWEST_TRIALS = 20
ROWS_A_COLUMN = 3  # trials per coefficient that a regression needs


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    Attributes:
        effect: The estimate.
        low: Lower end of the interval; minus infinity if unbounded.
        high: Upper end.
        n: Number of differences or trials.
        spread: Standard deviation of one difference; NaN if unknown.
    """

    effect: float
    low: float
    high: float
    n: int
    spread: float = math.nan


@dataclass(frozen=True)
class Spread:
    """Mean and spread of a figure over trainings.

    Attributes:
        mean: Its mean.
        deviation: Its standard deviation (of the sample, n - 1); None with one training.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The mean and spread of values; at least one."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.deviation is None else f" ± {self.deviation:.4f}")


def of_share(share: float, n: int) -> tuple[float, float]:
    """The interval of a share of ``n`` images, exact (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        share: Share of the images, 0 to 1: a whole number of images.
        n: Number of images; at least 1.
    """
    from scipy.stats import binomtest  # takes half a second; not every command needs it

    interval = binomtest(round(share * n), n).proportion_ci(1 - LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def most_of_share(hits: int, n: int) -> float:
    """One-sided upper limit of the share behind ``hits`` of ``n``; exact, as in ``of_share``."""
    from scipy.stats import binomtest

    test = binomtest(hits, n, alternative="less")
    return float(test.proportion_ci(1 - LEVEL, method="exact").high)


def of_difference_of_means(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the difference of the means of ``a`` and ``b``, of unequal variances.

    Welch, The generalization of "Student's" problem, Biometrika 34, 1947. None if one of them
    has a single value.
    """
    from scipy.stats import ttest_ind

    if min(len(a), len(b)) < 2:
        return None
    if np.ptp(a) == np.ptp(b) == 0:
        return (float(a[0] - b[0]),) * 2
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(1 - LEVEL)
    return float(interval.low), float(interval.high)


def told_if_wide(share: float, n: int) -> str:
    """What a share of ``n`` images leaves open, if its interval is wider than WIDE; else empty."""
    if n > 4 / WIDE**2:  # no share of so many has a wide interval; spares the import
        return ""
    low, high = of_share(share, n)
    if high - low <= WIDE:
        return ""
    return (
        f"of {n:,} images, an accuracy of {share:.2f} has the 95 % interval {low:.2f} to "
        f"{high:.2f}: smaller differences may be chance"
    )


def told_share(share: float, n: int | None) -> str:
    """A share with its interval: 0.8439 (95 % interval 0.8366 to 0.8510, 10,000 images).

    Without the interval if the number of images is unknown.
    """
    if not n:
        return f"{share:.4f}"
    low, high = of_share(share, n)
    images = "1 image" if n == 1 else f"{n:,} images"
    return f"{share:.4f} (95 % interval {low:.4f} to {high:.4f}, {images})"


def of_differences(differences: Sequence[float], comparisons: int = 1) -> Estimate | None:
    """The mean of paired differences, with Student's interval for repeated looks.

    Assumes that the differences are independent and roughly normal. With fewer than FEWEST_PAIRS
    the interval is unbounded. None without differences.

    Args:
        differences: One for each pair.
        comparisons: Number of intervals that hold simultaneously (Bonferroni).
    """
    n = len(differences)
    if n == 0:
        return None
    mean = float(np.mean(differences))
    spread = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    # Differences can be equal by chance, if few images allow few values.
    if n < FEWEST_PAIRS or (spread == 0 and mean):
        return Estimate(mean, -math.inf, math.inf, n, spread)
    half = quantile(n - 1, comparisons) * spread / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, spread)


def pairs_needed(effect: float, spread: float, comparisons: int = 1, most: int = 10_000) -> int:
    """Total number of pairs for an interval that excludes zero, with the same effect and spread.

    Returns:
        At least FEWEST_PAIRS, at most ``most``.
    """
    for n in range(FEWEST_PAIRS, 200):
        if quantile(n - 1, comparisons) * spread / math.sqrt(n) < abs(effect):
            return n
    if effect == 0:
        return most
    return min(most, math.ceil((quantile(200, comparisons) * spread / effect) ** 2))


def quantile(freedom: int, comparisons: int, level: float = LEVEL_OF_A_LOOK) -> float:
    """Student's quantile of a two-sided interval that shares its level among comparisons."""
    return float(stdtrit(freedom, 1 - level / (2 * comparisons)))


def of_regression(
    rows: Array, outcomes: Array, contrasts: Array, comparisons: int = 1
) -> list[Estimate | None]:
    """Effects adjusted for all other features, by least squares.

    The intervals use standard errors that allow for unequal variances (HC3: MacKinnon and
    White, Some heteroskedasticity-consistent covariance matrix estimators, Journal of Econometrics
    29, 1985) and Student's distribution.

    Args:
        rows: (n, p), one row of features per trial, with a column of ones.
        outcomes: (n,) outcome of each trial.
        contrasts: (k, p), combinations of coefficients to estimate.
        comparisons: Number of intervals that hold simultaneously (Bonferroni).

    Returns:
        An estimate per contrast; None if there are too few trials or they are all alike.
    """
    n, _ = rows.shape
    if n == 0:
        return [None] * len(contrasts)
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    rank = int((sizes > 1e-9 * sizes[0]).sum())
    if n < max(FEWEST_TRIALS, ROWS_A_COLUMN * rank):
        return [None] * len(contrasts)
    left, sizes, right = left[:, :rank], sizes[:rank], right[:rank]
    pseudo = (right.T / sizes) @ left.T  # (p, n)
    fitted = left @ (left.T @ outcomes)
    leverage = np.minimum((left**2).sum(axis=1), 1 - 1e-12)
    scaled = (outcomes - fitted) / (1 - leverage)
    spread = float(np.sqrt(((outcomes - fitted) ** 2).sum() / (n - rank)))
    estimates: list[Estimate | None] = []
    for contrast in contrasts:
        projected = right.T @ (right @ contrast)
        size = float(np.linalg.norm(contrast))
        weights = contrast @ pseudo  # (n,): the effect is their product with the outcomes
        # A contrast that depends on single trials, which the model fits exactly, has no error
        # estimate.
        alone = bool((np.abs(weights) * (leverage > 1 - 1e-6)).any())
        if size == 0 or alone or float(np.linalg.norm(projected - contrast)) > 1e-6 * size:
            estimates.append(None)
            continue
        effect = float(weights @ outcomes)
        error = float(np.sqrt(((weights * scaled) ** 2).sum()))
        half = quantile(n - rank, comparisons, LEVEL) * error
        estimates.append(Estimate(effect, effect - half, effect + half, n, spread))
    return estimates
