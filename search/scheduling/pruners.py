"""Pruners of Optuna, by the names of the setting."""

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

from search.scheduling.rungs import ETA


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Create a pruner by its name, for trials of at most ``epochs`` epochs, counted from 1."""
    pruners: dict[str, BasePruner] = {
        # The median of the finished trials at that epoch, from five trials and epoch 3 on.
        "median": MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        "hyperband": HyperbandPruner(
            min_resource=1, max_resource=max(epochs, 1), reduction_factor=ETA
        ),
        "halving": SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA),
        "promote": NopPruner(),  # the chooser pauses and resumes trials; nothing is pruned
        "none": NopPruner(),
    }
    return pruners[name]
