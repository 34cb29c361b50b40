"""The built-in search spaces: a trial's parameters, and how they map to specs.

Every ``suggest_*`` call of treino is in this package. To extend a space, add a range to its
``distributions``, apply it to the network in ``specs``, add run 10's value in
``of_documented_run``, and in ``later`` the value that it has in trials of older studies.
"""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from models.documented import DOCUMENTED
from models.spec import (
    MUON_TO_ADAM,
    POOL,
    Block,
    Dense,
    ModelSpec,
    SpecError,
    TrainingSpec,
    estimate_memory,
)
from search.errors import SettingsError
from search.spaces.records import RangesRecord, SpaceRecord
from search.spaces.training_defaults import TrainingDefaults
from search.spaces.unit_cube import Params, UnitCube

FIRST_FILTERS = 32  # of the documents' first convolution; each further one doubles them
DENSE_UNITS = 512  # in every network of the documents
SAMPLE = 500  # configurations to estimate the size of a space's networks
RATES = {"adam": 1, "sgd": 50, "muon": MUON_TO_ADAM}
"""Learning rate with which an optimiser changes a network about as fast as Adam with 1."""


@dataclass(frozen=True)
class Space(ABC):
    """A set of configurations.

    It is flat: a trial has every parameter, and every parameter has an effect, so no two
    configurations are the same network trained the same way. ``pool_first`` alone has none on
    networks of one convolution per block without batch normalisation.

    Only whole numbers and choices change the size of a network, so that sizes are counted once for
    all rates and strengths (``search.spaces.room``).

    Attributes:
        training: The settings that all its trainings have in common.
        image_side: Side of the images in pixels; it limits the number of blocks.
        later: Parameters that the space did not have at first, as they are in trials of that time.
    """

    training: TrainingDefaults
    image_side: int

    name: ClassVar[str]
    later: ClassVar[Params] = {}

    @property
    def epochs(self) -> int:
        """Maximum number of epochs of a trial."""
        return self.training.epochs

    @abstractmethod
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""

    @abstractmethod
    def specs(self, params: Params) -> tuple[ModelSpec, TrainingSpec]:
        """The network and the training that a configuration stands for."""

    @abstractmethod
    def of_documented_run(self) -> dict[str, Any] | None:
        """The documents' run 10 as a configuration; None if it is outside the space."""

    def first_configurations(self) -> list[tuple[str, dict[str, Any]]]:
        """The first configurations of a new study, each with its origin."""
        documented = self.of_documented_run()
        return [] if documented is None else [("the documents' run 10", documented)]

    def record(self) -> SpaceRecord:
        """What a study stores of the space; spaces with equal records have the same trials."""
        return RangesRecord.of(self.name, self.distributions())

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask the study's sampler for a configuration."""
        params: dict[str, Any] = {}
        for name, distribution in self.distributions().items():
            if isinstance(distribution, IntDistribution):
                params[name] = trial.suggest_int(
                    name,
                    distribution.low,
                    distribution.high,
                    step=distribution.step,
                    log=distribution.log,
                )
            elif isinstance(distribution, FloatDistribution):
                params[name] = trial.suggest_float(
                    name,
                    distribution.low,
                    distribution.high,
                    step=distribution.step,
                    log=distribution.log,
                )
            elif isinstance(distribution, CategoricalDistribution):
                params[name] = trial.suggest_categorical(name, distribution.choices)
        return params

    def contains(self, params: Params) -> bool:
        """Whether a configuration is in the space; Optuna does not check enqueued ones."""
        distributions = self.distributions()
        return params.keys() == distributions.keys() and all(
            _holds(distributions[name], value) for name, value in params.items()
        )

    def memory_needs(self, input_shape: tuple[int, int, int], classes: int) -> tuple[int, int]:
        """Rough estimate of the bytes that the smallest and the largest configuration need.

        Both are 0 for the user's own networks, which are unknown until they are built.
        """
        coordinates = UnitCube(self.distributions())
        points = coordinates.uniform(SAMPLE, np.random.default_rng(0))
        candidates = [coordinates.params(point) for point in points]
        candidates += [params for _, params in self.first_configurations()]
        needs = []
        for model, training in map(self.specs, candidates):
            with suppress(SpecError):  # for a network that does not fit the images
                needs.append(estimate_memory(model, input_shape, classes, training.batch_size))
        return min(needs, default=0), max(needs, default=0)


@dataclass(frozen=True)
class Documents(Space):
    """The documents' space: the parameters varied by hand in the report's ten runs."""

    name = "documents"

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range."""
        # Each block halves the map, and at least one pixel has to remain after the last.
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

    def specs(self, params: Params) -> tuple[ModelSpec, TrainingSpec]:
        """The network and the training that a configuration stands for."""
        params = {**self.later, **params}
        model = ModelSpec(
            blocks=tuple(
                Block(
                    filters=filters,
                    batch_norm=params["batch_norm"],
                    dropout=params["dropout_blocks" if n else "dropout_first"],
                    l2=params["l2_conv"],
                )
                for n, filters in enumerate(_filters(params, FIRST_FILTERS))
            ),
            dense=Dense(
                units=DENSE_UNITS,
                batch_norm=params["batch_norm"],
                dropout=params["dropout_dense"],
                l2=params["l2_dense"],
            ),
        )
        return model, self.training.spec(
            learning_rate=params["learning_rate"], batch_size=params["batch_size"]
        )

    def of_documented_run(self) -> dict[str, Any] | None:
        """The documents' run 10 as a configuration; None if the images are too small for it."""
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


@dataclass(frozen=True)
class Extended(Space):
    """The documents' space and parameters that the report did not vary; no data augmentation.

    Every parameter is always in use: ``dropout_dense`` and ``l2_dense`` apply to the hidden dense
    layer or, without one, to the softmax layer; ``learning_rate`` is Adam's, and the others use
    RATES times it; ``weight_decay`` is AdamW's, and the others shrink kernels by the same amount
    per step, Muon that of the softmax layer only.
    """

    name = "extended"
    later: ClassVar[Params] = {"pool_first": False, "mirror": False}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter with its range: the documents', batch normalisation in three ways."""
        theirs = Documents(self.training, self.image_side).distributions()
        del theirs["batch_norm"]
        return {
            **theirs,
            "norm": CategoricalDistribution(("after", "before", "none")),  # relative to the ReLU
            "convolutions": IntDistribution(1, 2),  # per block
            "first_filters": CategoricalDistribution((32, 48, 64, 96, 128)),
            "pooling": CategoricalDistribution(("flatten", "average")),
            "dense_units": CategoricalDistribution((0, 128, 256, 512)),
            "pool_first": CategoricalDistribution((True, False)),
            "mirror": CategoricalDistribution((True, False)),
            "optimizer": CategoricalDistribution(("adam", "sgd", "muon")),
            "weight_decay": FloatDistribution(0.0, 0.2),
            "schedule": CategoricalDistribution(("constant", "cosine", "one-cycle")),
            "label_smoothing": FloatDistribution(0.0, 0.2),
        }

    def specs(self, params: Params) -> tuple[ModelSpec, TrainingSpec]:
        """The network and the training that a configuration stands for."""
        params = {**self.later, **params}
        norm = params["norm"]
        model = ModelSpec(
            blocks=tuple(
                Block(
                    filters=filters,
                    convolutions=params["convolutions"],
                    batch_norm=norm != "none",
                    norm_first=norm == "before",
                    dropout=params["dropout_blocks" if n else "dropout_first"],
                    l2=params["l2_conv"],
                    pool_first=params["pool_first"],
                )
                for n, filters in enumerate(_filters(params, params["first_filters"]))
            ),
            pooling=params["pooling"],
            mirror=params["mirror"],
            dense=Dense(
                units=params["dense_units"],
                batch_norm=norm != "none",
                dropout=params["dropout_dense"],
                l2=params["l2_dense"],
            ),
        )
        faster = RATES[params["optimizer"]]
        return model, self.training.spec(
            optimizer=params["optimizer"],
            learning_rate=params["learning_rate"] * faster,
            weight_decay=params["weight_decay"] / faster,
            schedule=params["schedule"],
            label_smoothing=params["label_smoothing"],
            batch_size=params["batch_size"],
        )

    def of_documented_run(self) -> dict[str, Any] | None:
        """The documents' run 10 as a configuration; None if the images are too small for it."""
        params = Documents(self.training, self.image_side).of_documented_run()
        if params is None:
            return None
        run = DOCUMENTED["run-10"]
        block, training = run.model.blocks[0], run.training
        params["norm"] = "after" if params.pop("batch_norm") else "none"
        return {
            **params,
            "convolutions": block.convolutions,
            "first_filters": block.filters,
            "pool_first": block.pool_first,
            "pooling": run.model.pooling,
            "dense_units": run.model.dense.units,
            "mirror": run.model.mirror,
            "optimizer": training.optimizer,
            "weight_decay": training.weight_decay,
            "schedule": training.schedule,
            "label_smoothing": training.label_smoothing,
        }

    def first_configurations(self) -> list[tuple[str, dict[str, Any]]]:
        """Run 10, and treino's own network, which works on small images in few epochs."""
        blocks = self.distributions()["blocks"]
        assert isinstance(blocks, IntDistribution)
        ours = {
            "blocks": min(3, blocks.high),
            "convolutions": 2,
            "first_filters": 96,
            "last_filters": 256,
            "norm": "before",
            "pool_first": True,
            "pooling": "average",
            "dense_units": 0,
            "mirror": True,
            # Dropout in blocks cost accuracy, in 8 epochs of CIFAR-10 and in 24.
            "dropout_first": 0.0,
            "dropout_blocks": 0.0,
            "dropout_dense": 0.2,
            "l2_conv": 1e-8,  # Muon fixes the norm of kernels
            "l2_dense": 1e-8,
            "optimizer": "muon",
            "weight_decay": 0.05,
            "learning_rate": 4e-3,
            "schedule": "one-cycle",
            "label_smoothing": 0.1,
            "batch_size": 256,
        }
        return [*super().first_configurations(), ("treino's own", ours)]


SPACES: dict[str, type[Space]] = {space.name: space for space in (Documents, Extended)}
"""The built-in spaces by name."""


def make_space(name: str, training: TrainingDefaults, image_side: int) -> Space:
    """A built-in space by its name.

    Raises:
        SettingsError: The space does not exist.
    """
    if name not in SPACES:
        raise SettingsError(f"--space {name!r}: expected {' or '.join(SPACES)}")
    return SPACES[name](training, image_side)


def _filters(params: Params, first: int) -> list[int]:
    """Filters of each block, doubled from ``first`` up to the last block's."""
    last = params["last_filters"]
    return [min(first * 2**n, last) for n in range(params["blocks"] - 1)] + [last]


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return bool(distribution.low <= value <= distribution.high)


assert POOL == 2  # the bound on blocks in Documents.distributions counts halvings
