"""What more epochs are likely to bring, from what the last ones brought.

The lowest loss falls in jumps, ever more seldom: about as much from one multiple of the epochs to
the next. So the gain of E more epochs after S is put at that of the last stretch of the same ratio,
from S² / (S + E) to S. On LCBench that told searches that had come to a stop from those that had
not, which the model that chooses trials could not (docs/decisions/0016-outlook.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

FLAT = 0.01  # a search is flat if it is to gain less than this share of its lowest loss


@dataclass(frozen=True)
class Outlook:
    """What further epochs are likely to bring.

    Attributes:
        epochs: How many.
        now: The lowest loss so far.
        then: The lowest loss that is likely after them.
        looked_back: Over how many of the last epochs it was judged.
    """

    epochs: int
    now: float
    then: float
    looked_back: int

    @property
    def flat(self) -> bool:
        """Whether they are hardly worth it."""
        return self.then > (1 - FLAT) * self.now

    def __str__(self) -> str:
        return (
            f"another hour, about {self.epochs:,} epochs: {self.now:.4f} to about {self.then:.4f}, "
            f"going by the last {self.looked_back:,}"
        )


def outlook(lowest: Sequence[float], epochs: int, full: int) -> Outlook | None:
    """What ``epochs`` further epochs are likely to bring.

    Args:
        lowest: The lowest loss after each epoch of all trials, in order of time.
        epochs: Further epochs, of all workers together.
        full: Epochs of a full training.

    Returns:
        The outlook; None while the stretch to look back over would begin in the first training.
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
