"""The outlook: estimates the gain of more epochs from the gain of the last ones.

The lowest loss falls in increasingly rare jumps, by about the same amount for every multiple of the
epochs. The estimated gain of E more epochs after S is that of the last stretch with the same ratio,
from S² / (S + E) to S. On LCBench this separated flat searches from improving ones; the model that
chooses trials could not (docs/decisions/0016-outlook.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

FLAT = 0.01  # a search is flat if its expected gain is below this share of its lowest loss


@dataclass(frozen=True)
class Outlook:
    """The likely result of more epochs.

    Attributes:
        epochs: Number of further epochs.
        now: The lowest loss so far.
        then: The likely lowest loss after them.
        looked_back: Number of last epochs the estimate is based on.
    """

    epochs: int
    now: float
    then: float
    looked_back: int

    @property
    def flat(self) -> bool:
        """Whether the expected gain is below FLAT."""
        return self.then > (1 - FLAT) * self.now

    def __str__(self) -> str:
        return (
            f"another hour, about {self.epochs:,} epochs: {self.now:.4f} to about {self.then:.4f}, "
            f"based on the last {self.looked_back:,}"
        )


def outlook(lowest: Sequence[float], epochs: int, full: int) -> Outlook | None:
    """Estimate the likely result of ``epochs`` further epochs.

    Args:
        lowest: The lowest loss after each epoch of all trials, in order of time.
        epochs: Further epochs, of all workers together.
        full: Epochs of a full training.

    Returns:
        The outlook; None while the stretch to look back over would start in the first training.
    """
    spent = len(lowest)
    if not spent or epochs < 1:
        return None
    begin = spent * spent // (spent + epochs)
    if begin < full:
        return None
    now, before = lowest[-1], lowest[begin - 1]
    then = now * min(now / before, 1.0) if before > 0 else now
    return Outlook(epochs, now, then, spent - begin)
