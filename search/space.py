"""The search space: a trial's parameters, and the specs they stand for.

Every ``suggest_*`` call of treino lives here. To extend the space, add a suggestion to
``suggest``, give it a value in ``of_documented_run``, and use it in ``specs``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from models.documented import DOCUMENTED
from models.spec import (
    POOL,
    Block,
    Dense,
    EarlyStopping,
    ModelSpec,
    ReduceLROnPlateau,
    TrainingSpec,
)

FIRST_FILTERS = 32  # of the documents' first convolution; each further one has twice as many
DENSE_UNITS = 512  # in every network of the documents

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Space:
    """The documents' space: what they moved by hand between their ten runs.

    Attributes:
        epochs: The most epochs a trial trains.
        image_side: Side of the images in pixels: it bounds the number of blocks.
        train_order: See TrainingSpec.
    """

    epochs: int
    image_side: int
    train_order: str = "together"

    name = "documents"

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        # Each block halves the map; the last needs a map of one pixel to be left over.
        most_blocks = min(5, self.image_side.bit_length() - 1)
        return {
            "blocks": IntDistribution(2, most_blocks),
            "last_filters": CategoricalDistribution((128, 256, 512)),
            "batch_norm": CategoricalDistribution((True, False)),
            "dropout_first": FloatDistribution(0.0, 0.6),
            "dropout_blocks": FloatDistribution(0.0, 0.6),
            "dropout_dense": FloatDistribution(0.0, 0.7),
            # At 1e-8 the penalty of a network of a million weights is lost in rounding.
            "l2_conv": FloatDistribution(1e-8, 1e-1, log=True),
            "l2_dense": FloatDistribution(1e-8, 1e-1, log=True),
            "batch_size": CategoricalDistribution((32, 64, 128, 256)),
            "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        }

    def describe(self) -> str:
        """The space as one line of text: equal texts are equal spaces."""
        ranges = {
            name: json.loads(distribution_to_json(distribution))["attributes"]
            for name, distribution in self.distributions().items()
        }
        short = {
            name: list(a["choices"]) if "choices" in a else [a["low"], a["high"]]
            for name, a in ranges.items()
        }
        return f"{self.name}, {self.train_order}: {json.dumps(short, sort_keys=True)}"

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask the study's sampler for a configuration."""
        params: dict[str, Any] = {}
        for name, distribution in self.distributions().items():
            if isinstance(distribution, IntDistribution):
                params[name] = trial.suggest_int(name, distribution.low, distribution.high)
            elif isinstance(distribution, FloatDistribution):
                params[name] = trial.suggest_float(
                    name, distribution.low, distribution.high, log=distribution.log
                )
            elif isinstance(distribution, CategoricalDistribution):
                params[name] = trial.suggest_categorical(name, distribution.choices)
        return params

    def specs(self, params: Params) -> tuple[ModelSpec, TrainingSpec]:
        """The network and the training that a configuration stands for."""
        blocks = params["blocks"]
        last = params["last_filters"]
        model = ModelSpec(
            blocks=tuple(
                Block(
                    filters=last if n == blocks - 1 else min(FIRST_FILTERS * 2**n, last),
                    batch_norm=params["batch_norm"],
                    dropout=params["dropout_first" if n == 0 else "dropout_blocks"],
                    l2=params["l2_conv"],
                )
                for n in range(blocks)
            ),
            dense=Dense(
                units=DENSE_UNITS,
                batch_norm=params["batch_norm"],
                dropout=params["dropout_dense"],
                l2=params["l2_dense"],
            ),
        )
        training = TrainingSpec(
            learning_rate=params["learning_rate"],
            batch_size=params["batch_size"],
            epochs=self.epochs,
            early_stopping=EarlyStopping(),
            reduce_lr=ReduceLROnPlateau(),
            train_order="folders" if self.train_order == "folders" else "together",
        )
        return model, training

    def of_documented_run(self) -> dict[str, Any] | None:
        """The documents' run 10 as a configuration; None where the images are too small for it."""
        run = DOCUMENTED["run-10"]
        blocks = run.model.blocks
        params = {
            "blocks": len(blocks),
            "last_filters": blocks[-1].filters,
            "batch_norm": blocks[0].batch_norm,
            "dropout_first": blocks[0].dropout,
            "dropout_blocks": blocks[1].dropout,
            "dropout_dense": run.model.dense.dropout,
            "l2_conv": blocks[0].l2,
            "l2_dense": run.model.dense.l2,
            "batch_size": run.training.batch_size,
            "learning_rate": run.training.learning_rate,
        }
        return params if self.contains(params) else None

    def contains(self, params: Params) -> bool:
        """Whether a configuration lies in the space: Optuna does not check what it is given."""
        distributions = self.distributions()
        return params.keys() == distributions.keys() and all(
            _holds(distributions[name], value) for name, value in params.items()
        )


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return bool(distribution.low <= value <= distribution.high)


assert POOL == 2  # the bound on blocks in Space.distributions counts halvings
