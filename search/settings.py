"""Every setting of treino, in one table: name, default, help.

A setting comes from its flag, else from its ``TREINO_*`` variable, else from ``treino.toml`` in
the working folder, else it has its default. README.md shows this table; a test compares them.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_type_hints

import typer

from models.history import REPORTED
from search.errors import SettingsError

# What training reports and a study can minimise. A monitor that nothing reports would silently
# never prune.
MONITORS = tuple(name for name in REPORTED if name.endswith("loss"))

SAMPLERS = ("gp", "tpe", "random")
PRUNERS = ("promote", "median", "hyperband", "halving", "none")
TRIALS = 30  # of a search that is given no other limit
SPACES = ("documents", "extended")
PRECISIONS = ("float32", "bfloat16")

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
        "Seconds after which the search pauses; no epoch is begun that is expected to end later "
        "[default: none].",
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

    def __post_init__(self) -> None:
        """Refuse what no command could use.

        Raises:
            SettingsError: A value is out of its range; the message names flag and value.
        """
        self._at_least(0, "seed", "workers", "keep", "audit", "port")
        self._at_least(
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
        self._one_of("sampler", SAMPLERS)
        self._one_of("pruner", PRUNERS)
        if not is_own(self.space):
            self._one_of("space", SPACES)
        self._one_of("monitor", MONITORS)
        self._one_of("train_order", ("together", "folders"))
        self._one_of("precision", PRECISIONS)
        if self.timeout is not None and not self.timeout > 0:
            raise SettingsError(f"--timeout {self.timeout}: expected more than 0 seconds")
        if self.port > 65535:
            raise SettingsError(f"--port {self.port}: expected 0 to 65535")
        if not 8 <= self.image_size <= 1024:
            raise SettingsError(f"--image-size {self.image_size}: expected 8 to 1024 pixels")
        if self.seed >= 2**63:
            raise SettingsError(f"--seed {self.seed}: expected less than 2**63")

    @property
    def trials_wanted(self) -> int | None:
        """Trials the study is to have; None where epochs or time are the only limit."""
        limited = self.budget_epochs is not None or self.timeout is not None
        return self.trials if self.trials is not None or limited else TRIALS

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{flag_of(name)} {value}: expected {least} or more")

    def _one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise SettingsError(f"{flag_of(name)} {value!r}: expected {' or '.join(choices)}")


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


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the named settings as options, and call it with a Settings.

    The command's first parameter takes the Settings; its further ones stay its own.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(Settings)
        table = {f.name: f for f in fields(Settings)}
        _, *own = inspect.signature(command).parameters.values()
        own_hints = get_type_hints(command, include_extras=True)
        parameters = [parameter.replace(annotation=own_hints[parameter.name]) for parameter in own]
        for name in names:
            flag = flag_of(name)
            flags = [f"{flag}/--no-{flag[2:]}"] if hints[name] is bool else [flag]
            option = typer.Option(
                *flags,
                envvar=variable_of(name),
                help=table[name].metadata["help"],
                show_envvar=False,
                show_default=table[name].default is not None,
            )
            parameters.append(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=table[name].default,
                    annotation=Annotated[hints[name], option],
                )
            )

        def run(**values: Any) -> None:
            settings = Settings(**{name: values.pop(name) for name in names})
            command(settings, **values)

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def from_file(text: str, commands: list[str]) -> dict[str, dict[str, Any]]:
    """The defaults that ``treino.toml`` gives each command.

    Raises:
        SettingsError: The text is no TOML, or names an unknown setting.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: {error}") from error
    known = {f.name for f in fields(Settings)}
    for name in values:
        if name not in known:
            raise SettingsError(f"{FILE}: unknown setting {name!r}; the README lists them")
    return {command: dict(values) for command in commands}
