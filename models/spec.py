"""Specs of networks and trainings, as plain values.

Specs connect Keras and Optuna and import neither. Every value is frozen, validated on creation,
and unchanged by conversion to JSON and back.
"""

import math
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from models.choices import ClassWeights, Monitor, Precision, TrainOrder
from models.errors import ModelError
from models.history import MOST_EPOCHS

KERNEL = 3  # side of every convolution in the report, pixels
WARM_UP = 25  # one-cycle starts at its highest rate divided by this
RISING = 0.25  # share of the steps in which it rises
MUON_TO_ADAM = 25  # ratio of the rate of kernels with Muon to that of Adam for all else
POOL = 2  # side of every pooling window in the report, pixels
EVALUATION_BATCH = 500  # images per step of an evaluation: larger is no faster on a CPU
PROCESS = 800 * 2**20  # bytes of a process with TensorFlow and a first network

S = TypeVar("S", bound="Spec")


class SpecError(ModelError):
    """An invalid spec; the message is one line."""


class Spec(BaseModel):
    """A frozen, validated value with a strict JSON form: unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    later_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that the first version did not have. With its default, none of them is stored: names
    of retrained runs derive from the stored form, which therefore stays that of older versions."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = whole(self)
        for name in self.later_fields:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return values

    def to_json(self) -> str:
        """The value as indented JSON text."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls: type[S], text: str | bytes) -> S:
        """The value that ``text`` describes.

        Raises:
            SpecError: The text is not JSON, or a field is missing, unknown or out of range.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(f"{cls.__name__}: {_one_line(error)}") from error


class Block(Spec):
    """One block: convolutions with ReLU and batch normalisation, then max pooling and dropout.

    Attributes:
        filters: Filters of each convolution.
        padding: Padding of each convolution.
        batch_norm: Whether each convolution has batch normalisation.
        norm_first: Whether that comes before the ReLU; in the report it comes after.
        dropout: Share of values dropped at the block's end.
        l2: Strength of the penalty on the convolutions' kernels.
        convolutions: Number of convolutions, one after the other.
        pool_first: Whether pooling follows the first convolution directly; the rest of the block
            then has a quarter of the pixels. With one convolution and no batch normalisation the
            network is the same, as the maximum and ReLU commute.
    """

    filters: int = Field(ge=1, le=4096)
    padding: Literal["same", "valid"] = "same"
    batch_norm: bool = True
    norm_first: bool = False
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    l2: float = Field(default=0.0, ge=0.0, le=1.0)
    convolutions: int = Field(default=1, ge=1, le=2)
    pool_first: bool = False

    later_fields = ("pool_first",)


class Dense(Spec):
    """The hidden dense layer: ReLU, batch normalisation, dropout.

    With 0 units there is none: dropout and L2 apply to the softmax layer.
    """

    units: int = Field(default=512, ge=0, le=65536)
    batch_norm: bool = True
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    l2: float = Field(default=0.0, ge=0.0, le=1.0)


class ModelSpec(Spec):
    """A convolutional classifier, layer by layer; input and output sizes come from the images.

    Attributes:
        blocks: The convolution blocks, first to last.
        dense: The hidden dense layer between the last block and the softmax.
        pooling: How the last block's map becomes a vector: all its values, or one average per
            filter.
        input_side: Side in pixels to which the network resizes its images; None for no resizing.
        mirror: Whether the blocks see each image and its mirror image, with the same weights. The
            rest of the network gets the average of what they make of both, so that it cannot tell
            left from right.
    """

    blocks: tuple[Block, ...] = Field(min_length=1, max_length=16)
    dense: Dense = Dense()
    pooling: Literal["flatten", "average"] = "flatten"
    input_side: int | None = Field(default=None, ge=8, le=1024)
    mirror: bool = False

    later_fields = ("mirror",)

    @property
    def views(self) -> int:
        """How many images the blocks see of each one."""
        return 2 if self.mirror else 1


class OwnSpec(Spec):
    """A network that a user's function builds.

    Attributes:
        code: The function: a file's absolute path, or a module, a colon and its name.
        digest: Hexadecimal digest of the source; another source is refused.
        params: Values of its trial, by parameter.
    """

    code: str
    digest: str
    params: dict[str, bool | int | float | str | None]


class EarlyStopping(Spec):
    """Stop after ``patience`` epochs without a better val_loss; restores the best weights."""

    patience: int = Field(default=10, ge=1)


class ReduceLROnPlateau(Spec):
    """Multiply the learning rate by ``factor`` after ``patience`` epochs without a better val_loss.

    The defaults are those of the report's run 10.
    """

    factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    patience: int = Field(default=5, ge=1)
    min_lr: float = Field(default=1e-6, ge=0.0)


class TrainingSpec(Spec):
    """How one network is trained.

    Attributes:
        optimizer: ``adam`` (AdamW with ``weight_decay``), ``sgd`` with momentum, or ``muon``
            (see ``models.muon``).
        momentum: Nesterov momentum of SGD; the other optimisers have their own.
        weight_decay: Each step subtracts ``learning_rate * weight_decay`` of every kernel
            (Loshchilov and Hutter, arXiv 1711.05101), not of biases and batch normalisation. With
            Muon it has an effect on the softmax layer only.
        learning_rate: The initial rate; for one-cycle, the highest.
        schedule: Schedule of the rate: see ``learning_rate_at``.
        label_smoothing: Share of each label that is spread over all classes (Szegedy et al.,
            arXiv 1512.00567); in training only, never in reported losses.
        batch_size: Images per step.
        epochs: Maximum number of epochs. A schedule is spread over all of them.
        early_stopping: None trains every epoch. With a cosine or one-cycle schedule it applies
            only to the second half: at high rates val_loss says little.
        reduce_lr: None keeps the learning rate. A cosine or one-cycle schedule ignores it.
        train_order: ``together`` shuffles all training images; ``folders`` uses the
            training folders (train1, train2, ...) one after the other in each epoch, shuffled
            within each. The report tried both.
        augment: Whether training images are flipped and shifted at random. The report's title
            says "without data augmentation".
        precision: Precision of the arithmetic; weights and the delivered model are float32.
        monitor: The figure that early stopping, the learning rate on a plateau and the choice of
            the best epoch go by.
        class_weights: ``balanced`` weighs each training image by how rare its class is, in the
            loss that the optimiser minimises; reported figures are not weighted.
    """

    optimizer: Literal["adam", "sgd", "muon"] = "adam"
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    learning_rate: float = Field(default=0.001, gt=0.0, le=10.0)
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    batch_size: int = Field(default=32, ge=1, le=65536)
    epochs: int = Field(default=100, ge=1, le=MOST_EPOCHS)
    early_stopping: EarlyStopping | None = None
    reduce_lr: ReduceLROnPlateau | None = None
    train_order: TrainOrder = "together"
    augment: bool = False
    precision: Precision = "float32"
    monitor: Monitor = "val_loss"
    class_weights: ClassWeights = "none"

    later_fields = ("monitor", "class_weights")


def learning_rate_at(spec: TrainingSpec, step: int, steps: int) -> float:
    """The learning rate at ``step`` (from 0) of a training of ``steps`` steps in total.

    ``constant`` stays the same, unless ReduceLROnPlateau lowers it. ``cosine`` falls to 0 along
    half a cosine (Loshchilov and Hutter, arXiv 1608.03983). ``one-cycle`` first rises to
    ``learning_rate`` linearly (Smith and Topin, arXiv 1708.07120; here without its
    change of momentum), then falls like ``cosine``.
    """
    if spec.schedule == "constant":
        return spec.learning_rate
    rising = warm_up_steps(spec, steps)
    if step < rising:
        start = spec.learning_rate / WARM_UP
        return start + (spec.learning_rate - start) * step / rising
    share = min(1.0, (step - rising) / (steps - rising))
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def warm_up_steps(spec: TrainingSpec, steps: int) -> int:
    """Number of the ``steps`` steps in which the rate rises."""
    return int(RISING * steps) if spec.schedule == "one-cycle" else 0


def map_sides(spec: ModelSpec, side: int) -> list[int]:
    """Side in pixels of the feature map after each block, for images of ``side`` pixels.

    Raises:
        SpecError: The map is too small for a block's convolution or pooling.
    """
    sides = []
    now = spec.input_side or side
    for number, block in enumerate(spec.blocks, 1):
        before = now
        convolved, now = _block_sides(block, now)
        if min(*convolved, now) < 1:
            raise SpecError(
                f"block {number} of {len(spec.blocks)} gets a {before}x{before} map, too small for "
                f"its {block.padding} convolution and pooling: use fewer blocks or larger images"
            )
        sides.append(now)
    return sides


def _block_sides(block: Block, side: int) -> tuple[list[int], int]:
    """Sides in pixels of the maps of each convolution before pooling, and of the block's end."""
    convolved = []
    for which in range(block.convolutions):
        side -= 0 if block.padding == "same" else KERNEL - 1
        convolved.append(side)
        if which == (0 if block.pool_first else block.convolutions - 1):
            side //= POOL
    return convolved, side


def count_parameters(
    spec: ModelSpec | OwnSpec, input_shape: tuple[int, int, int], classes: int
) -> int:
    """Number of weights as Keras counts them, statistics of batch normalisation included.

    0 for a network of the user's own, which has to be built to count.

    Args:
        spec: The network.
        input_shape: Height, width and channels of an image; height and width are equal.
        classes: Number of classes.

    Raises:
        SpecError: The network does not fit images of this size.
    """
    if isinstance(spec, OwnSpec):
        return 0
    side, _, channels = input_shape
    map_sides(spec, side)  # check that it fits: an average accepts a map of any size
    total = 0
    for block in spec.blocks:
        for _ in range(block.convolutions):
            total += (KERNEL * KERNEL * channels + 1) * block.filters
            total += 4 * block.filters if block.batch_norm else 0
            channels = block.filters
    width = _width(spec, side)
    if spec.dense.units:
        total += (width + 1) * spec.dense.units
        total += 4 * spec.dense.units if spec.dense.batch_norm else 0
        width = spec.dense.units
    return total + (width + 1) * classes


def count_operations(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> int:
    """Multiply-adds per image in a forward pass, of convolutions and dense layers only.

    Training takes three times as many: forwards, and backwards for the layer's inputs and for its
    weights.

    Raises:
        SpecError: The network does not fit images of this size.
    """
    map_sides(spec, input_shape[0])  # check that it fits
    now, channels, products = spec.input_side or input_shape[0], input_shape[2], 0
    for block in spec.blocks:
        convolved, now = _block_sides(block, now)
        for side in convolved:
            products += side**2 * KERNEL**2 * channels * block.filters
            channels = block.filters
    products *= spec.views
    width = _width(spec, input_shape[0])
    if spec.dense.units:
        products += width * spec.dense.units
        width = spec.dense.units
    products += width * classes
    return products


def estimate_memory(
    spec: ModelSpec | OwnSpec, input_shape: tuple[int, int, int], classes: int, batch_size: int
) -> int:
    """Bytes that a process needs to train the network; a rough estimate.

    0 for a network of the user's own, which is unknown before it is built.

    Besides TensorFlow, four bytes per value: five values for each weight (itself, its
    gradient, Adam's two moments, the best epoch's copy), and for each image of a batch, every
    layer's map twice, forwards and backwards, and once the nine-fold patches of the widest
    convolution, which a CPU lays out for its product; or, if that is more, the largest map and
    its successor for each image of an evaluation. Four networks on images of 32 to
    128 pixels took 0.65 to 0.98 of it; ``tests/stress/test_models_memory.py`` tests one.

    Raises:
        SpecError: The network does not fit images of this size.
    """
    if isinstance(spec, OwnSpec):
        return 0
    map_sides(spec, input_shape[0])  # check that it fits
    now, channels = spec.input_side or input_shape[0], input_shape[2]
    maps = now**2 * channels
    widest = largest = 0
    for block in spec.blocks:
        layers = 3 if block.batch_norm else 2  # convolution, ReLU, normalisation
        convolved, now = _block_sides(block, now)
        for side in convolved:
            maps += layers * side**2 * block.filters
            widest = max(widest, KERNEL * KERNEL * channels * side**2)
            largest = max(largest, side**2 * block.filters)
            channels = block.filters
        maps += now**2 * block.filters
    weights = count_parameters(spec, input_shape, classes)
    maps *= spec.views
    images = max(batch_size * (2 * maps + widest), EVALUATION_BATCH * 2 * largest)
    return PROCESS + 4 * (5 * weights + images)


def _width(spec: ModelSpec, side: int) -> int:
    """Length of the vector that the last block makes of an image."""
    last = 1 if spec.pooling == "average" else map_sides(spec, side)[-1]
    return last * last * spec.blocks[-1].filters


def _one_line(error: ValidationError) -> str:
    """The first fault of a pydantic error, with its place and the value."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    told = fault["type"] in ("missing", "json_invalid", "value_error")
    came = "" if told else f", not {fault['input']!r:.80}"
    return f"{where + ': ' if where else ''}{fault['msg']}{came}"
