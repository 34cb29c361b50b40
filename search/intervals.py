"""Confidence intervals: of a share, of paired differences, of a regression over trials."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Array = npt.NDArray[np.float64]

LEVEL = 0.05  # chance of an interval without the true effect in it

# Pairs are looked at again after every further round of them, and no more are trained once the
# verdict is there. Intervals at this nominal level hold at five such looks together with
# probability 0.95 (Pocock, Group sequential methods in the design and analysis of clinical trials,
# Biometrika 64, 1977, table 1; as intervals: Jennison and Turnbull, Group Sequential Methods with
# Applications to Clinical Trials, 2000, chapter 9).
LOOKS = 5
LEVEL_OF_A_LOOK = 0.0158

FEWEST_PAIRS = 4  # of the first look
FEWEST_TRIALS = 20
ROWS_A_COLUMN = 3  # trials that a regression needs for each of its coefficients


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    Attributes:
        effect: The estimate.
        low: Lower end of the interval; minus infinity where nothing bounds it.
        high: Upper end.
        n: Differences, or trials, that it is made of.
        spread: Standard deviation of one of them; NaN if unknown.
    """

    effect: float
    low: float
    high: float
    n: int
    spread: float = math.nan


def of_share(share: float, n: int) -> tuple[float, float]:
    """The interval of a share of ``n`` images, exact (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        share: Found among the images, 0 to 1: a whole number of them.
        n: How many images; at least 1.
    """
    from scipy.stats import binomtest  # half a second, which not every command needs

    interval = binomtest(round(share * n), n).proportion_ci(1 - LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def most_of_share(hits: int, n: int) -> float:
    """The upper limit of a share of which ``hits`` of ``n`` were found, one-sided; as above."""
    from scipy.stats import binomtest

    test = binomtest(hits, n, alternative="less")
    return float(test.proportion_ci(1 - LEVEL, method="exact").high)


def of_difference_of_means(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the difference of the means of ``a`` and ``b``, of unequal variances.

    Welch, The generalization of "Student's" problem, Biometrika 34, 1947. None where one of them
    has a single value.
    """
    from scipy.stats import ttest_ind

    if min(len(a), len(b)) < 2:
        return None
    if np.ptp(a) == np.ptp(b) == 0:
        return (float(a[0] - b[0]),) * 2
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(1 - LEVEL)
    return float(interval.low), float(interval.high)


def told_share(share: float, n: int | None) -> str:
    """A share with its interval: 0.8439 (95 % interval 0.8366 to 0.8510, 10,000 images).

    Without the interval where it is not known of how many images the share is.
    """
    if not n:
        return f"{share:.4f}"
    low, high = of_share(share, n)
    images = "1 image" if n == 1 else f"{n:,} images"
    return f"{share:.4f} (95 % interval {low:.4f} to {high:.4f}, {images})"


def of_differences(differences: Sequence[float], comparisons: int = 1) -> Estimate | None:
    """The mean of paired differences, with Student's interval for repeated looks.

    Assumes that the differences are independent and roughly normal. Before FEWEST_PAIRS, nothing
    bounds the interval. None without any.

    Args:
        differences: One for each pair.
        comparisons: Number of intervals that are to hold together (Bonferroni).
    """
    n = len(differences)
    if n == 0:
        return None
    mean = float(np.mean(differences))
    spread = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    # Equal differences come by chance, where few images make few values possible.
    if n < FEWEST_PAIRS or (spread == 0 and mean):
        return Estimate(mean, -math.inf, math.inf, n, spread)
    half = quantile(n - 1, comparisons) * spread / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, spread)


def pairs_needed(effect: float, spread: float, comparisons: int = 1, most: int = 10_000) -> int:
    """How many pairs in all give an interval clear of zero, if effect and spread stay as they are.

    Returns:
        At least FEWEST_PAIRS; ``most`` where it would take more.
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
    """Effects adjusted for everything else, by least squares.

    The intervals are made of standard errors that allow for unequal variances (HC3: MacKinnon and
    White, Some heteroskedasticity-consistent covariance matrix estimators, Journal of Econometrics
    29, 1985) and Student's distribution.

    Args:
        rows: (n, p), a row of features a trial, with a column of ones.
        outcomes: (n,) what came of each trial.
        contrasts: (k, p), each a combination of coefficients to be estimated.
        comparisons: Number of intervals that are to hold together (Bonferroni).

    Returns:
        For each contrast its estimate; None where the trials cannot tell: too few, or all alike.
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
    found: list[Estimate | None] = []
    for contrast in contrasts:
        seen = right.T @ (right @ contrast)
        size = float(np.linalg.norm(contrast))
        weights = contrast @ pseudo  # (n,): the effect is their product with the outcomes
        # One that hangs on single trials, each of which the model fits exactly, has no error to
        # be judged by.
        alone = bool((np.abs(weights) * (leverage > 1 - 1e-6)).any())
        if size == 0 or alone or float(np.linalg.norm(seen - contrast)) > 1e-6 * size:
            found.append(None)
            continue
        effect = float(weights @ outcomes)
        error = float(np.sqrt(((weights * scaled) ** 2).sum()))
        half = quantile(n - rank, comparisons, LEVEL) * error
        found.append(Estimate(effect, effect - half, effect + half, n, spread))
    return found
