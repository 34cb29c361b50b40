"""Errors of treino and their exit codes.

    Exception
    ├── TreinoError            search: settings, studies, trainings
    │   ├── SettingsError      a setting out of range, or settings that conflict
    │   ├── NothingToTrainError  no trial to retrain, no untried configuration
    │   └── TrainingFailedError  a training outside the study that could not finish
    ├── DashboardError         search.reports.dashboard: an address that cannot be served
    ├── DataError              data: images that are not available or not usable
    ├── StorageError           storage: the database, its studies, the files under var/
    │   └── LeaseHeld          another tuner is running on the study
    ├── SpecError              models.spec: an invalid network or training
    ├── CheckpointError        models.checkpoint: a checkpoint of another network
    └── DivergedError          models.callbacks: val_loss became NaN or infinite

The packages below search cannot import this module, so each has its own root. The command line
prints each error as one line on stderr: what was expected, what was found, what to do.
"""

EXIT_ERROR = 1
"""The work could not be done. The line on stderr says why."""

EXIT_USAGE = 2
"""Invalid arguments or settings."""


class TreinoError(Exception):
    """An error to report to the user in one line."""


class SettingsError(TreinoError):
    """A setting is out of range, or settings conflict."""


class NothingToTrainError(TreinoError):
    """There is no trial to retrain, or no untried configuration."""


class TrainingFailedError(TreinoError):
    """A training outside the study could not finish."""
