"""Every setting of treino, in one table: name, default, help.

A setting comes from its flag, else from its ``TREINO_*`` variable, else from ``treino.toml`` in
the working folder, else it has its default (search/cli/options.py). docs/settings.md shows this
table; a test compares them.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from models.history import MOST_EPOCHS, REPORTED
from search.errors import SettingsError

# What training reports and a study can minimise. A monitor that nothing reports would silently
# never prune.
MONITORS = tuple(name for name in REPORTED if name.endswith("loss"))

SAMPLERS = ("gp", "tpe", "random")
PRUNERS = ("promote", "median", "hyperband", "halving", "none")
TRIALS = 30  # of a search that is given no other limit
SPACES = ("documents", "extended")
PRECISIONS = ("float32", "bfloat16")

MOST = 2**63 - 1  # a whole number that every database takes
LONGEST = 1e9  # seconds, 30 years: clocks and queues take no more than about ten times that

PREFIX = "TREINO_"
FILE = "treino.toml"


def _setting(default: Any, text: str, flag: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "flag": flag})


@dataclass(frozen=True)
class Settings:
    """The settings; a command uses those it names."""

    data: str = _setting(
        "auto", "Images: auto, cifar10, digits, fashion-mnist, or a folder of images."
    )
    image_size: int = _setting(32, "Side in pixels to which images are resized.")
    skip_bad_images: bool = _setting(False, "Leave unreadable images out instead of refusing them.")
    images: int | None = _setting(
        None,
        "Training images to use, a seeded part of each class; validation and test images in "
        "proportion [default: all].",
    )
    study: str | None = _setting(
        None, "Name of the study [default: search: what DATA says; elsewhere: the newest study]."
    )
    storage: str = _setting("var/treino.db", "Database: a SQLite file or any SQLAlchemy URL.")
    trials: int | None = _setting(
        None,
        f"Trials the study is to have in all [default: {TRIALS}, or no limit with another budget].",
    )
    budget_epochs: int | None = _setting(
        None, "Epochs the study's trials are to have in all [default: no limit]."
    )
    epochs: int = _setting(20, "The most epochs a trial trains.")
    workers: int = _setting(
        0, "Worker processes; 0: up to four a GPU, as many as have room, or else one a core."
    )
    timeout: float | None = _setting(
        None,
        "Seconds after which the search pauses; no epoch but the first is begun that is expected "
        "to end later [default: none].",
    )
    stop_when_flat: bool = _setting(
        False, "End when another hour is likely to lower the loss by less than 1 %."
    )
    sampler: str = _setting("gp", "How configurations are proposed: gp, tpe or random.")
    prior: str = _setting(
        "auto",
        "What gp knows before the first trial: auto, how the documents' space did on other images; "
        "none; or a file as treino record writes.",
    )
    pruner: str = _setting(
        "promote",
        "What is done about bad trials: promote pauses all and takes up the promising; "
        "median, hyperband or halving end them early; none.",
    )
    space: str = _setting(
        "documents",
        "The search space: documents; extended, which holds it; ranges of your own, space.toml; "
        "or networks of your own, file.py:build.",
    )
    monitor: str = _setting("val_loss", "The figure that is minimised.")
    train_order: str = _setting(
        "together", "together: all training images shuffled; folders: one folder after the other."
    )
    augment: bool = _setting(
        False,
        "Flip and shift training images at random: against the documents' rules, whose title says "
        "without data augmentation.",
    )
    precision: str = _setting(
        "float32", "Arithmetic: float32, or bfloat16 for processors that have it."
    )
    early_stopping: bool = _setting(
        True, "Whether a trial ends after 10 epochs without a better val_loss."
    )
    documented: bool = _setting(
        True, "Whether a new study starts with the space's known configurations, run 10 first."
    )
    seed: int = _setting(0, "Decides the trials' configurations, weights and order of images.")
    keep: int = _setting(5, "Finished trials that keep their checkpoint: the best ones.")
    audit: int = _setting(
        0, "Pruned trials that are trained to their end after the search, to see if it was right."
    )
    max_params: int = _setting(
        100_000_000, "Networks with more weights are proposed but not trained."
    )
    retrain_epochs: int = _setting(
        100, "The most epochs that retrain-best trains.", flag="--epochs"
    )
    baseline_epochs: int | None = _setting(
        None, "The most epochs that baseline trains [default: the run's own].", flag="--epochs"
    )
    settle_epochs: int | None = _setting(
        None,
        "Epochs that the paired trainings of claims --settle are to have in all "
        "[default: no limit].",
        flag="--budget-epochs",
    )
    host: str = _setting("127.0.0.1", "Address that the dashboard listens on.")
    port: int = _setting(8080, "Port that the dashboard listens on; 0: any free one.")
    writable: bool = _setting(False, "Let the dashboard change and delete studies.")
    allow_host: tuple[str, ...] = _setting(
        (),
        "A further name that the dashboard answers to: of a proxy, or of the machine that "
        "publishes its port; may be given again, or several by commas.",
    )

    def __post_init__(self) -> None:
        """Refuse what no command could use.

        Raises:
            SettingsError: A value is out of its range; the message names flag and value.
        """
        for name in ("data", "study", "prior", "space", "host"):
            if "\0" in (getattr(self, name) or ""):
                raise SettingsError(f"{flag_of(name)}: expected a text without NUL")
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
        self._one_of("train_order", ("together", "folders"))
        self._one_of("precision", PRECISIONS)
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise SettingsError(
                f"--timeout {self.timeout}: expected more than 0 seconds and at most "
                f"{LONGEST:.0e}; without --timeout there is no limit"
            )
        if self.port > 65535:
            raise SettingsError(f"--port {self.port}: expected 0 to 65535")
        if not 8 <= self.image_size <= 1024:
            raise SettingsError(f"--image-size {self.image_size}: expected 8 to 1024 pixels")

    @property
    def trials_wanted(self) -> int | None:
        """Trials the study is to have; None where epochs or time are the only limit."""
        limited = self.budget_epochs is not None or self.timeout is not None
        return self.trials if self.trials is not None or limited else TRIALS

    def _in_range(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{flag_of(name)} {value}: expected {least} or more")
            if value is not None and value > MOST:
                raise SettingsError(f"{flag_of(name)} {value}: expected less than 2**63")

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise SettingsError(f"{flag_of(name)} {value!r}: expected {' or '.join(choices)}")


def _is_unicode(text: str) -> bool:
    """Whether a text is one: bytes that are not, of a name or an argument, are lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def is_own(space: str) -> bool:
    """Whether a space is the user's own: ranges in a TOML file, or a function in Python."""
    return space.endswith(".toml") or is_code(space)


def is_code(space: str) -> bool:
    """Whether a space is a function of the user's: file.py:build, or module:build."""
    place, _, function = space.rpartition(":")
    return bool(place) and function.isidentifier()


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    flag = next(f.metadata["flag"] for f in fields(Settings) if f.name == name)
    return flag or "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()
