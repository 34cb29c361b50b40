"""Errors of treino and their exit codes.

    Exception
    ├── TreinoError                search.errors: settings, studies, trainings
    │   ├── SettingsError          a setting out of range, or settings that conflict
    │   ├── NothingToTrainError    no trial to retrain, no untried configuration
    │   └── TrainingFailedError    a training outside the study that could not finish
    ├── DashboardError             search.reports.dashboard: an address that cannot be served
    ├── DataError                  data.dataset: images that are not available or not usable
    ├── StorageError               storage.errors: the database, its studies, the files under var/
    │   └── LeaseHeld              storage.lease: another tuner is running on the study
    └── ModelError                 models.errors: networks, trainings, checkpoints
        ├── SpecError              models.spec: an invalid network or training
        ├── CheckpointError        models.checkpoint: damaged, or of another network
        ├── CheckpointWriteError   models.checkpoint: could not be written
        ├── OwnCodeError           models.own_errors: the user's code raised or is not usable
        ├── CodeChangedError       models.own_errors: the user's code is not the study's
        ├── OwnPrunedError         models.own_errors: the user's code prunes its trial
        ├── ExportError            models.export: not possible in a format, or not here
        └── DivergedError          models.callbacks: val_loss became NaN or infinite

The packages that search imports cannot import this module, so each has its own root. The command
line catches the roots and prints the error as one line on stderr: what was expected, what was
found, what to do. In a worker, the error becomes the reason of a ``Failed`` (``search.protocol``).

Other exceptions are caught where they arise: ``OutputError`` (search.console.outputs) by the
command line's ``main``, ``TooLargeError`` and ``BrokenOffError`` (search.workers.worker) in the
worker, ``UnknownParameterError`` (models.own_trial) and ``TrainsError`` (models.own_guard) around
the user's code, and ``_RefusedError`` (data.decode) in decoding.
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
