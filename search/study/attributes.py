"""Names of the trial and study attributes in the database. The dashboard shows them."""

RECIPE = "recipe"  # study attribute: what its trials have in common (search.study.recipe)
# Openings (search.study.opening). The names are those of 0.1, whose entries are texts.
OPENED_BY = "made_by"  # study attribute: its first opening
REOPENED_BY = "continued_by"  # study attribute: list of later openings, the latest last

REASON = "reason"
PRUNED = "pruned"
DUPLICATE = "duplicate of trial"
DECISIONS = "decisions"
UNFIT = "unfit"
MEMORY = "forecast"  # study attribute: what the chooser has learned
PRIOR_STUDIES = "prior studies"  # study attribute: trials that its warm start learned from
DEATHS = "worker deaths"
RETRY_OF = "retry of trial"  # number of the untrained trial that this one replaces
OWN_FAULT = "own code failed"  # the trial failed in the user's code, not in the environment
MEMORY_HAD = "worker memory"  # bytes of a worker's memory when the trial ran out of it
PROCESSORS = "processors"  # types that a cluster trained the trial on, in order
ORIGIN = "origin"  # source of an enqueued trial's configuration
LATENCY = "latency (ms)"  # of the trial's network, as measured; in studies that minimise it
# Of every trial that has ended.
SUMMARY = (
    *("parameters", "operations", "epochs", "seconds", "best epoch"),
    *("val_loss", "val_accuracy", "val_macro_f1", "val_auc"),
)

OF_TREINO = frozenset(
    (
        *(REASON, PRUNED, DUPLICATE, DECISIONS, UNFIT, DEATHS, RETRY_OF, OWN_FAULT),
        *(MEMORY_HAD, PROCESSORS, ORIGIN, LATENCY, *SUMMARY),
    )
)
"""Trial attributes that a user's code cannot set."""
