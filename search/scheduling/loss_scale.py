"""The scale on which a model sees losses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.spaces.unit_cube import Array

RESOLUTION = 1e-12
RESOLUTION_OF_SHARES = 1e-3  # of 1 minus a share, which may be 0


@dataclass(frozen=True)
class LossScale:
    """Maps losses to model values: logarithms, with the worse half compressed.

    Differences among bad configurations do not matter, and would hide those among good ones.
    """

    middle: float
    width: float
    worst: float
    resolution: float

    @classmethod
    def of(cls, losses: Array, resolution: float = RESOLUTION) -> "LossScale":
        """The scale on which the lowest of the losses is -1.5 and the middling one 0.

        Losses below ``resolution`` count as equal to it.
        """
        logs = np.log(np.maximum(losses[np.isfinite(losses)], resolution))
        if not len(logs):
            return cls(0.0, 1.0, 0.0, resolution)
        middle = float(np.median(logs))
        width = max((middle - float(logs.min())) / 1.5, 1e-9)
        return cls(middle, width, float(logs.max()), resolution)

    def to_model(self, losses: npt.ArrayLike) -> Array:
        """Model values of losses; an infinite loss is a little worse than the worst."""
        losses = np.asarray(losses, dtype=np.float64)
        logs = np.where(
            np.isfinite(losses),
            np.log(np.maximum(losses, self.resolution)),
            self.worst + self.width,
        )
        value = (logs - self.middle) / self.width
        return np.where(value > 0, np.log1p(np.maximum(value, 0.0)), value)

    def to_loss(self, values: npt.ArrayLike) -> Array:
        """Losses of model values."""
        values = np.asarray(values, dtype=np.float64)
        drawn_apart = np.where(values > 0, np.expm1(np.maximum(values, 0.0)), values)
        return np.asarray(np.exp(self.middle + self.width * drawn_apart))
