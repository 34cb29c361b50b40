"""Expected improvement: by how much a configuration is expected to lower the best loss."""

import math

import numpy as np
from scipy.special import erfcx, ndtr

from search.scheduling.loss_scale import LossScale
from search.spaces.unit_cube import Array

LEAST, MOST = 0.003, 0.3  # margins, in units of the model; the best loss is 1.5 below the middle


def log_expected_improvement(goal: float | Array, mean: Array, deviation: Array) -> Array:
    """Logarithm of the expected improvement below ``goal`` of normal variables, (n,).

    As a logarithm it still ranks configurations whose improvement is next to nothing. Source: Ament
    et al., Unexpected Improvements to Expected Improvement for Bayesian Optimization, 2023,
    equation 9.

    Args:
        goal: The loss to improve on, or (n,) losses.
        mean: (n,) expected losses.
        deviation: (n,) their standard deviations, positive.
    """
    z = (goal - mean) / deviation
    density = np.exp(-0.5 * np.minimum(z * z, 700.0)) / math.sqrt(2 * math.pi)
    near = np.maximum(z * ndtr(z) + density, 1e-300)
    # Far below 0 that sum cancels out. It is phi(z) (1 + z R) with R = Phi(z) / phi(z).
    far = np.minimum(z, -1.0)
    ratio = erfcx(-far / math.sqrt(2)) * math.sqrt(math.pi / 2)
    rest = np.where(far > -1e4, 1 + far * ratio, 1 / (far * far))
    tail = np.log(rest) - 0.5 * far * far - 0.5 * math.log(2 * math.pi)
    return np.asarray(np.log(deviation) + np.where(z > -1, np.log(near), tail))


def margin(random: np.random.Generator) -> float:
    """By how much an improvement has to be larger than nothing, in units of the model.

    At random for each decision: small margins polish the best configuration, and large ones look
    elsewhere. The idea is that of random thresholds in Rakotoarison et al., In-Context
    Freeze-Thaw Bayesian Optimization, 2024; theirs are for the probability of an improvement.
    """
    return float(np.exp(random.uniform(math.log(LEAST), math.log(MOST))))


def prospect(scale: LossScale, goal: float, mean: float, deviation: float) -> str:
    """What is expected of a configuration, in a few words.

    Args:
        scale: Of the other arguments.
        goal: The best loss so far.
        mean: The configuration's expected loss.
        deviation: Its standard deviation, positive.
    """
    likely = ndtr((goal - mean) / deviation)
    return f"expected to reach {float(scale.to_loss(mean)):.4f}, {likely:.0%} likely to be the best"
