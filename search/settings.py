"""All settings of treino: name, default and help text.

A setting is read from its flag, its ``TREINO_*`` variable, ``treino.toml`` in the working folder
or its default, in this order (search/cli/options.py). docs/settings.md shows this table; a test
compares the two.
"""

from dataclasses import dataclass, field, fields
from typing import Any, get_args

from models.choices import ClassWeights, Monitor, Precision, TrainOrder
from models.history import MOST_EPOCHS
from search.errors import SettingsError

MONITORS: tuple[str, ...] = get_args(Monitor)
SIZES = ("parameters", "operations", "latency")  # of a network, to minimise beside the monitor

SAMPLERS = ("gp", "tpe", "random")
PRUNERS = ("promote", "median", "hyperband", "halving", "none")
PATIENCE = 600.0  # seconds
TRIALS = 30  # default of a search without another limit
SPACES = ("documents", "extended")

MOST = 2**63 - 1  # the largest integer that every database accepts
LONGEST = 1e9  # seconds, 30 years; clocks and queues accept up to about ten times that

TRACKERS = ("tensorboard", "mlflow")

DATA = ("data", "image_size", "skip_bad_images", "images", "seed")
OF_SEARCH = (
    *DATA,
    *("study", "storage", "storage_patience", "trials", "budget_epochs", "epochs", "workers"),
    *("cluster", "timeout", "stop_when_flat", "sampler", "prior", "pruner", "space"),
    *("monitor", "objectives", "class_weights", "train_order", "augment", "precision"),
    *("early_stopping", "documented", "keep", "audit", "track", "max_params", "max_operations"),
)
"""The settings of ``treino search``. A study stores them all, and reports show them."""
OF_RECORD = (
    *DATA,
    *("study", "storage", "storage_patience", "epochs", "workers", "cluster", "timeout", "space"),
    *("train_order", "max_params", "max_operations"),
)
"""The settings of ``treino record``."""

PREFIX = "TREINO_"
FILE = "treino.toml"


def _setting(default: Any, text: str, flag: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "flag": flag})


@dataclass(frozen=True)
class Settings:
    """The settings. Each command uses the ones it names."""

    data: str = _setting(
        "auto", "Data set: auto, cifar10, digits, fashion-mnist, or a folder of images."
    )
    image_size: int = _setting(32, "Image height and width in pixels, after resizing.")
    skip_bad_images: bool = _setting(False, "Skip unreadable images instead of failing.")
    images: int | None = _setting(
        None,
        "Number of training images to use, drawn from each class with the seed; validation and "
        "test images in proportion [default: all].",
    )
    study: str | None = _setting(
        None,
        "Name of the study [default: for search and record, derived from the data; otherwise, the "
        "study whose trials started last].",
    )
    storage: str = _setting("var/treino.db", "Database: a SQLite file or a SQLAlchemy URL.")
    storage_patience: float = _setting(
        PATIENCE,
        "Seconds to wait for a database that does not answer, before trainings stop.",
    )
    trials: int | None = _setting(
        None,
        "Total number of trials in the study "
        f"[default: {TRIALS}, or no limit if another budget is set].",
    )
    budget_epochs: int | None = _setting(
        None, "Total number of epochs over all trials of the study [default: no limit]."
    )
    epochs: int = _setting(20, "Maximum number of epochs per trial.")
    workers: int = _setting(
        0,
        "Number of worker processes; 0: up to four per GPU, or one per core without a GPU, as far "
        "as memory allows.",
    )
    cluster: str | None = _setting(
        None,
        "Address of a cluster's head (host:port), on whose nodes workers run; --workers counts "
        "on each node then [default: this machine only].",
    )
    timeout: float | None = _setting(
        None,
        "Time limit in seconds, after which the search pauses; except for the first, no epoch "
        "starts that is expected to end later [default: no limit].",
    )
    stop_when_flat: bool = _setting(
        False,
        "End the search when another hour is expected to lower the loss by less than 1 %.",
    )
    sampler: str = _setting("gp", "Method that proposes configurations: gp, tpe or random.")
    prior: str = _setting(
        "auto",
        "Warm start of the gp sampler: auto (earlier studies in the database, and curves that "
        "come with treino), none, or a file written by treino record.",
    )
    pruner: str = _setting(
        "promote",
        "Pruning strategy: promote (pause all trials and resume the most promising); median, "
        "hyperband or halving (end bad trials early); or none.",
    )
    space: str = _setting(
        "documents",
        "Search space: documents, extended (contains documents), a file of your own ranges "
        "(space.toml), or your own networks (file.py:build).",
    )
    monitor: str = _setting(
        "val_loss",
        "Figure to select by: val_loss (lowest); or val_accuracy, val_macro_f1 or val_auc "
        "(highest).",
    )
    objectives: tuple[str, ...] = _setting(
        (),
        "Objectives to minimise, separated by a comma: the monitored figure, then parameters, "
        "operations (multiply-adds per image) or latency (measured ms per image) of the network "
        "[default: the monitored figure].",
    )
    class_weights: str = _setting(
        "none",
        "Weights of the classes in the training loss: none, or balanced (rare classes weigh more).",
    )
    train_order: str = _setting(
        "together",
        "Order of training images: together (all shuffled) or folders (one folder after the "
        "other).",
    )
    augment: bool = _setting(
        False,
        "Flip and shift training images at random. The documents' networks are trained without "
        "data augmentation.",
    )
    precision: str = _setting(
        "float32", "Floating-point format: float32, or bfloat16 on hardware that supports it."
    )
    early_stopping: bool = _setting(
        True, "End a trial after 10 epochs without a better monitored figure."
    )
    documented: bool = _setting(
        True, "Start a new study with the known configurations of the space, run 10 first."
    )
    seed: int = _setting(
        0, "Random seed of configurations, initial weights, image order and data split."
    )
    keep: int = _setting(5, "Number of finished trials that keep their checkpoint, best first.")
    audit: int = _setting(
        0,
        "Number of pruned trials to train to their end after the search, to check whether pruning "
        "them was right.",
    )
    track: tuple[str, ...] = _setting(
        (),
        "Where to show the search besides: tensorboard, mlflow (a database in var/) or mlflow=URI; "
        "repeat it for both.",
    )
    max_params: int = _setting(
        100_000_000, "Maximum number of weights; larger networks are not trained."
    )
    max_operations: int | None = _setting(
        None,
        "Maximum number of multiply-adds per image in a forward pass; larger networks are not "
        "trained [default: no limit].",
    )
    retrain_epochs: int = _setting(100, "Maximum number of epochs per retraining.", flag="--epochs")
    baseline_epochs: int | None = _setting(
        None, "Maximum number of epochs [default: as in the run].", flag="--epochs"
    )
    settle_epochs: int | None = _setting(
        None,
        "Total number of epochs over all paired trainings of claims --settle [default: no limit].",
        flag="--budget-epochs",
    )
    host: str = _setting("127.0.0.1", "Address the dashboard listens on.")
    port: int = _setting(8080, "Port the dashboard listens on; 0: any free port.")
    writable: bool = _setting(False, "Allow changing and deleting studies in the dashboard.")
    allow_host: tuple[str, ...] = _setting(
        (),
        "Additional host name the dashboard accepts, such as a proxy's; repeat it, or separate "
        "several with commas.",
    )

    def __post_init__(self) -> None:
        """Reject values that no command can use.

        Raises:
            SettingsError: A value is out of range. The message names flag and value.
        """
        for name in ("data", "study", "prior", "space", "host", "cluster"):
            if "\0" in (getattr(self, name) or ""):
                raise SettingsError(f"{flag_of(name)}: expected text without NUL")
        if self.study is not None and not _is_unicode(self.study):
            raise SettingsError(f"--study {self.study!r}: expected a name in UTF-8")
        self._in_range(0, "seed", "workers", "keep", "audit", "port")
        self._in_range(
            1,
            "images",
            "trials",
            "budget_epochs",
            "epochs",
            "max_params",
            "max_operations",
            "retrain_epochs",
            "baseline_epochs",
            "settle_epochs",
        )
        for name in ("epochs", "retrain_epochs", "baseline_epochs"):
            if (getattr(self, name) or 0) > MOST_EPOCHS:
                raise SettingsError(
                    f"{flag_of(name)} {getattr(self, name)}: expected {MOST_EPOCHS} or less"
                )
        self._one_of("sampler", SAMPLERS)
        self._one_of("pruner", PRUNERS)
        if not is_own(self.space):
            self._one_of("space", SPACES)
        self._one_of("monitor", MONITORS)
        self._check_trackers()
        self._check_objectives()
        self._one_of("class_weights", get_args(ClassWeights))
        self._one_of("train_order", get_args(TrainOrder))
        self._one_of("precision", get_args(Precision))
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise SettingsError(
                f"--timeout {self.timeout}: expected more than 0 seconds and at most "
                f"{LONGEST:.0e}; without --timeout there is no limit"
            )
        if not 0 <= self.storage_patience <= LONGEST:
            raise SettingsError(
                f"--storage-patience {self.storage_patience}: expected 0 seconds or more, and at "
                f"most {LONGEST:.0e}"
            )
        if self.cluster is not None and not is_address(self.cluster):
            raise SettingsError(f"--cluster {self.cluster!r}: expected host:port")
        if self.port > 65535:
            raise SettingsError(f"--port {self.port}: expected 0 to 65535")
        if not 8 <= self.image_size <= 1024:
            raise SettingsError(f"--image-size {self.image_size}: expected 8 to 1024 pixels")

    @property
    def size(self) -> str:
        """The size that is minimised beside the monitored figure; empty if none is."""
        return "".join(self.objectives[1:])

    @property
    def trials_wanted(self) -> int | None:
        """Total number of trials; None if epochs or time are the only limit."""
        limited = self.budget_epochs is not None or self.timeout is not None
        return self.trials if self.trials is not None or limited else TRIALS

    def _check_objectives(self) -> None:
        if not self.objectives:
            return
        text = f"--objectives {','.join(self.objectives)}"
        first, *others = self.objectives
        if first != self.monitor or len(others) > 1 or not {*others} <= {*SIZES}:
            sizes = f"{', '.join(SIZES[:-1])} or {SIZES[-1]}"
            raise SettingsError(
                f"{text}: expected {self.monitor}, the monitored figure, then {sizes}"
            )
        if not others:
            return
        for name, needed in (("sampler", "gp"), ("pruner", "promote")):
            if getattr(self, name) != needed:
                raise SettingsError(
                    f"{text}: expected {flag_of(name)} {needed}, not {getattr(self, name)}: no "
                    "other one chooses by two objectives"
                )
        for name in ("stop_when_flat", "audit"):
            if getattr(self, name):
                raise SettingsError(
                    f"{text}: expected no {flag_of(name)}, which judges by loss alone"
                )

    def _in_range(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{flag_of(name)} {value}: expected {least} or more")
            if value is not None and value > MOST:
                raise SettingsError(f"{flag_of(name)} {value}: expected less than 2**63")

    def _check_trackers(self) -> None:
        names = [value.partition("=")[0] for value in self.track]
        for name, value in zip(names, self.track, strict=True):  # a URI may contain a password
            if name not in TRACKERS:
                raise SettingsError(f"--track {name!r}: expected {' or '.join(TRACKERS)}")
            if value != name and (name != "mlflow" or value == "mlflow="):
                raise SettingsError(f"--track {name}=: expected tensorboard, mlflow or mlflow=URI")
        if len(set(names)) < len(names):
            raise SettingsError(f"--track {' --track '.join(names)}: expected each once")

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise SettingsError(f"{flag_of(name)} {value!r}: expected {' or '.join(choices)}")


def _is_unicode(text: str) -> bool:
    """Whether a text is valid Unicode. Undecodable bytes of an argument are lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def is_address(text: str) -> bool:
    """Whether a text is a host and a port, separated by a colon."""
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")  # as it is looked up
    except UnicodeError:
        return False
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16


def is_own(space: str) -> bool:
    """Whether a space is the user's own: ranges in a TOML file, or a Python function."""
    return space.endswith(".toml") or is_code(space)


def is_code(space: str) -> bool:
    """Whether a space is a user's code: file.py:build, module:build, or file.py:object.build."""
    place, _, function = space.rpartition(":")
    return bool(place) and all(part.isidentifier() for part in function.split("."))


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    flag = next(f.metadata["flag"] for f in fields(Settings) if f.name == name)
    return flag or "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()
