"""Arms of a claim: configurations that differ in one thing; and configurations as numbers.

An arm sets that one thing in a configuration and keeps the rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from search.spaces.builtin import Documents
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params

ORDER = "train_order"  # a study setting, here one more thing that can differ
LEAST_L2 = 1e-5  # weaker penalties count as none
STRONG_L2 = 1e-2  # stronger ones are not comparable with the report's 0.001
NO_L2 = 1e-8  # the weakest penalty of the space
FEWEST_DROPPED = 0.1  # lower dropout rates count as none

_run_10 = Documents(TrainingDefaults(epochs=1), 32).of_documented_run()
assert _run_10 is not None
RUN_10: Params = _run_10
"""The documents' run 10 as a configuration."""

_DROPOUT = ("dropout_first", "dropout_blocks", "dropout_dense")
_L2 = ("l2_conv", "l2_dense")


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        label: Its name, in a word or two.
        of: Maps a configuration to this arm's configuration.
    """

    label: str
    of: Callable[[Params], Params]


def value(name: str, to: Any, label: str = "") -> Arm:
    """The arm with a parameter at that value."""
    return Arm(label or str(to), lambda params: {**params, name: to})


def with_dropout(params: Params) -> Params:
    """With its own dropout, or run 10's if it has almost none."""
    own = max(params[name] for name in _DROPOUT) >= FEWEST_DROPPED
    return params if own else {**params, **{name: RUN_10[name] for name in _DROPOUT}}


def with_l2(params: Params) -> Params:
    """With its own L2 penalty, or run 10's if it has almost none."""
    own = max(params[name] for name in _L2) >= LEAST_L2
    return params if own else {**params, **{name: RUN_10[name] for name in _L2}}


def without_dropout(params: Params) -> Params:
    """With no dropout."""
    return {**params, **dict.fromkeys(_DROPOUT, 0.0)}


def without_l2(params: Params) -> Params:
    """With almost no L2 penalty."""
    return {**params, **dict.fromkeys(_L2, NO_L2)}


def regularised(params: Params) -> Params:
    """With dropout, L2 and batch normalisation."""
    return {**with_dropout(with_l2(params)), "batch_norm": True}


def features(params: Params) -> list[float]:
    """A configuration as features of a linear model of outcomes, with a leading 1.

    There are no interactions: squares for parameters with a best value in the middle, levels
    none-some-strong for L2, a slope on either side of run 10's learning rate.

    Raises:
        KeyError: A parameter of the documents' space is missing.
    """
    rate = math.log10(params["learning_rate"] / RUN_10["learning_rate"])
    row = [
        1.0,
        float(params["blocks"]),
        float(params["blocks"]) ** 2,
        float(params["last_filters"] == 128),
        float(params["last_filters"] == 512),
        float(params["batch_norm"]),
        math.log2(params["batch_size"]),
        min(rate, 0.0),
        max(rate, 0.0),
    ]
    for name in _DROPOUT:
        row += [params[name], params[name] ** 2]
    for name in _L2:
        row += [float(params[name] >= LEAST_L2), float(params[name] > STRONG_L2)]
    return row
