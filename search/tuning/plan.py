"""The plan of a search, and its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass

from search.scheduling.prior import Prior
from search.scheduling.stopping import Outlook


@dataclass(frozen=True)
class Plan:
    """What a search shall do.

    Attributes:
        trials: Total number of trials in the study; None for no limit.
        seed: The study's seed.
        sampler: Name of the sampler.
        prior: Prior of the sampler ``gp``; None for a cold start.
        pruner: Name of the pruner; ``promote`` pauses trials at rungs and resumes the best.
        budget: Total number of epochs over all trials; None for no limit.
        timeout: Seconds; no epoch starts that is expected to end later. None for no limit.
        stop_when_flat: Whether to end when another hour is expected to bring almost nothing.
        monitor: The figure to minimise.
        size: The size of networks to minimise, too: ``parameters``, ``operations`` or
            ``latency``; empty if none is.
        keep: Number of finished trials that keep their checkpoint, best first.
        audit: Number of pruned trials that keep their checkpoint for ``search.tuning.audit``.
    """

    trials: int | None
    seed: int
    sampler: str = "gp"
    prior: Prior | None = None
    pruner: str = "promote"
    budget: int | None = None
    timeout: float | None = None
    stop_when_flat: bool = False
    monitor: str = "val_loss"
    size: str = ""
    keep: int = 5
    audit: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a search did.

    Attributes:
        states: Number of trials per state, without duplicates: complete, pruned, fail (as in
            Optuna) and paused.
        epochs: Epochs trained by this process.
        images: Number of images these epochs trained on.
        seconds: Wall time.
        training: Share of worker time spent training and validating, 0 to 1.
        outlook: What another hour is likely to bring; None if there is no estimate.
        flat: Why the search ended as flat; empty if it did not.
        trouble: The fault that stopped the search; empty if there was none.
        trained: Whether any trial of the study has completed an epoch, in this process or before.
        retriable: Number of trials that never trained and can be retried now.
        may_audit: Whether an audit can run: there is time left, and no fault.
    """

    states: Mapping[str, int]
    epochs: int
    images: int
    seconds: float
    training: float
    outlook: Outlook | None = None
    flat: str = ""
    trouble: str = ""
    trained: bool = True
    retriable: int = 0
    may_audit: bool = True
