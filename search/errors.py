"""What can go wrong on the way to a model, and the exit code of each.

    Exception
    ├── TreinoError            search: settings, the study, the trainings
    │   ├── SettingsError      a setting out of its range, or two that do not go together
    │   ├── NothingToTrainError  no trial to retrain, no configuration left to try
    │   └── TrainingFailedError  a training outside the study that could not be ended
    ├── DashboardError         search.reports.dashboard: an address that cannot be served
    ├── DataError              data: images that cannot be had or cannot be used
    ├── StorageError           storage: the database, the study in it, the files under var/
    │   └── LeaseHeld          another tuner works on the study
    ├── SpecError              models.spec: a network or a training that cannot be
    ├── CheckpointError        models.checkpoint: a training's saved state is of another network
    └── DivergedError          models.callbacks: val_loss became NaN or infinite

The packages below search import nothing of ours, so each has a root of its own. The command
line turns every one into one line on stderr: it says what was expected, what came, what to do.
"""

EXIT_ERROR = 1
"""The work could not be done: the line on stderr says why."""

EXIT_USAGE = 2
"""The command was given something it does not take."""


class TreinoError(Exception):
    """A fault to tell the user in one line."""


class SettingsError(TreinoError):
    """A setting out of its range, or two that do not go together."""


class NothingToTrainError(TreinoError):
    """There is no trial to retrain, or no configuration left that was not trained."""


class TrainingFailedError(TreinoError):
    """A training outside the study could not be brought to its end."""
