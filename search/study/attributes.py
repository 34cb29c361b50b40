"""Names of what a trial or a study carries in the database, where the dashboard shows it."""

REASON = "reason"
PRUNED = "pruned"
DUPLICATE = "duplicate of trial"
DECISIONS = "decisions"
UNFIT = "unfit"
MEMORY = "forecast"  # of the study: what the chooser learned
DEATHS = "worker deaths"
RETRY_OF = "retry of trial"  # number of the trial that was never trained, which this one replaces
OWN_FAULT = "own code failed"  # the trial failed in the user's code, not in the environment
MEMORY_HAD = "worker memory"  # bytes that a worker had, where the trial ran out of them
ORIGIN = "origin"  # where the configuration of an enqueued trial comes from
