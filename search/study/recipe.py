"""What a study is made with: one typed value, stored with the study as JSON.

Trials with other images, another space or another number of epochs cannot be compared. So a study
stores its recipe, and is not resumed with another one.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import optuna

from data.dataset import Dataset
from models.documented import are_of_cifar10
from models.history import objective_name
from models.spec import Spec, SpecError
from search.errors import TreinoError
from search.settings import Settings
from search.spaces.builtin import Space
from search.spaces.records import SpaceRecord, differences
from search.spaces.training_defaults import TrainingDefaults
from search.study import recipe_of_0_1
from search.study.attributes import RECIPE
from search.study.sizes import OBJECTIVES

_COMPARED_ABOVE = frozenset({"format", "images", "space", "training", "size"})


class ImagesRecord(Spec):
    """The images of a study.

    Attributes:
        name: Name of the data set, only to show: folders are renamed and moved.
        fingerprint: Hexadecimal digest of the content.
        side: Height and width in pixels.
        classes: Names of the classes, in the order of the labels.
    """

    name: str
    fingerprint: str
    side: int
    classes: tuple[str, ...]

    def __str__(self) -> str:
        """Name and fingerprint."""
        return f"{self.name} {self.fingerprint}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.side, self.side, 3

    @property
    def of_cifar10(self) -> bool:
        """Whether they have the classes of CIFAR-10, as the documents' figures do."""
        return are_of_cifar10(self.classes)


class StudyRecipe(Spec):
    """What makes the trials of a study comparable.

    Attributes:
        format: Version of the stored form.
        images: The images.
        space: The search space.
        training: The settings that all trainings have in common.
        monitor: The figure that the study selects by (``models.history.objective``).
        seed: The study's seed.
        size: The size of the network that the study minimises beside the monitored figure,
            ``parameters``, ``operations`` or ``latency``; empty if it minimises none.
    """

    format: Literal[1] = 1
    images: ImagesRecord
    space: SpaceRecord
    training: TrainingDefaults
    monitor: str
    seed: int
    size: str = ""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of what the study minimises: ``val_loss``, or ``1 - val_accuracy``; then a size."""
        return (objective_name(self.monitor), *([OBJECTIVES[self.size]] if self.size else []))

    @property
    def objectives_setting(self) -> str:
        """The same, as the setting ``objectives`` has it: ``val_accuracy,latency``."""
        return ",".join([self.monitor, *([self.size] if self.size else [])])

    @classmethod
    def of_search(cls, settings: Settings, data: Dataset, space: Space) -> "StudyRecipe":
        """The recipe of a search's study."""
        images = ImagesRecord(
            name=data.name,
            fingerprint=data.fingerprint,
            side=data.input_shape[0],
            classes=data.classes,
        )
        return cls(
            images=images,
            space=space.record(),
            training=space.training,
            monitor=settings.monitor,
            seed=settings.seed,
            size=settings.size,
        )

    @classmethod
    def stored_in(cls, attributes: Mapping[str, Any]) -> "StudyRecipe | None":
        """The recipe in a study's user attributes; None if treino did not make the study."""
        content = attributes.get(RECIPE) or recipe_of_0_1.converted(attributes)
        try:
            return cls.from_json(json.dumps(content))
        except SpecError:  # attributes of another program
            return None

    def stored(self) -> dict[str, Any]:
        """The form in which it is stored."""
        return self.model_dump(mode="json")

    def differences(self, other: "StudyRecipe") -> list[str]:
        """What makes the trials of two recipes incomparable, with both values; often empty."""
        return [f"{what} {before}, not {now}" for what, before, now in self._differing(other)]

    def _differing(self, other: "StudyRecipe") -> Iterator[tuple[str, object, object]]:
        if self.images.fingerprint != other.images.fingerprint:
            yield "data", self.images, other.images
        yield from differences(self.space, other.space)
        if self.size != other.size:
            yield "objectives", self.objectives_setting, other.objectives_setting
        for mine, others, names in (
            # What trainings watch follows from the study's monitor.
            (self.training, other.training, TrainingDefaults.model_fields.keys() - {"monitor"}),
            (self, other, StudyRecipe.model_fields.keys() - _COMPARED_ABOVE),
        ):
            for name in sorted(names):
                before, now = getattr(mine, name), getattr(others, name)
                if before != now:
                    yield name.replace("_", " "), _shown(before), _shown(now)


def recipe_of(study: optuna.Study) -> StudyRecipe:
    """The recipe of a study.

    Raises:
        TreinoError: treino did not make the study, a newer version did, or it is damaged.
    """
    attributes = study.user_attrs
    recipe = StudyRecipe.stored_in(attributes)
    if recipe is None:
        content = attributes.get(RECIPE)
        ours = isinstance(content, dict) and "format" in content
        fault = "is damaged, or a newer treino made it" if ours else "was not made by treino"
        raise TreinoError(f"study {study.study_name!r} {fault}; name another STUDY=")
    return recipe


def _shown(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
