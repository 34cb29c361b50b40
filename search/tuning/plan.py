"""What a search is to do, and what it came to."""

from collections.abc import Mapping
from dataclasses import dataclass

from search.scheduling.prior import Prior
from search.scheduling.stopping import Outlook


@dataclass(frozen=True)
class Plan:
    """What a search is to do.

    Attributes:
        trials: Trials the study is to have in all; None for no limit.
        seed: The study's seed.
        sampler: Name of the sampler.
        prior: What the sampler ``gp`` knows before the first trial; None for nothing.
        pruner: Name of the pruner; ``promote`` pauses trials at rungs and takes them up again.
        budget: Epochs that the study's trials are to have in all; None for no limit.
        timeout: Seconds; no epoch is begun that is expected to end later. None for no limit.
        stop_when_flat: Whether to end when another hour is likely to bring hardly anything.
        monitor: The figure judged by, to be minimised.
        keep: How many finished trials keep their checkpoint: the best ones.
        audit: How many pruned trials keep theirs, to be audited (``search.tuning.audit``).
        max_parameters: Networks with more weights are not trained; None for no limit.
        memory: Bytes that one worker may use; networks estimated to need more are not trained.
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
    keep: int = 5
    audit: int = 0
    max_parameters: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        states: How many trials of the study are complete, pruned, fail (Optuna's words) and
            paused, duplicates left out.
        epochs: Epochs trained by this process.
        images: Images those epochs trained on.
        seconds: Wall time.
        training: Share of the workers' time in which they trained and validated, 0 to 1.
        outlook: What another hour is likely to bring; None while it cannot be told.
        flat: Why the search ended before its time, empty if it did not.
        trouble: Why the search had to stop, empty if it did not have to.
        trained: Whether any trial of the study has completed an epoch, in this process or before.
        retriable: How many trials were never trained, and would be tried again now.
        may_audit: Whether pruned trials may be trained to their end: there is time, and no trouble.
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
