"""Read settings from options, ``TREINO_*`` variables and ``treino.toml``.

Importing this module does not import TensorFlow or Optuna, so `treino --help` is fast.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from search.console.terminal import aside, printable
from search.errors import SettingsError
from search.settings import FILE, PREFIX, Settings, flag_of, variable_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a quoted string",
    tuple: "a list of strings",
}


class Commands(TyperGroup):
    """The group of commands. Its list shows the whole first paragraph of each command's help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list. Click's own list truncates lines at the terminal's width."""
        helps = [(name, inspect.cleandoc(c.help or "")) for name, c in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, text.partition("\n\n")[0]) for name, text in helps])


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the named settings to a command as options, and call it with a Settings.

    The command's first parameter receives the Settings; the others remain options of the command,
    but for a ``context``, which it may have.
    Settings from the environment or the file are listed on standard error.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(Settings)
        table = {f.name: f for f in fields(Settings)}
        # Not get_type_hints, which on Python 3.10 hides what is Annotated and has the default None.
        _, *parameters = inspect.signature(command, eval_str=True).parameters.values()
        for name in names:
            flag = flag_of(name)
            flags = [f"{flag}/--no-{flag[2:]}"] if hints[name] is bool else [flag]
            multiple = _kind(hints[name]) is tuple
            option = typer.Option(
                *flags,
                envvar=variable_of(name),
                help=table[name].metadata["help"],
                show_envvar=False,
                show_default=table[name].default not in (None, ()),
            )
            parameters.append(
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None if multiple else table[name].default,
                    annotation=Annotated[list[str] | None if multiple else hints[name], option],
                )
            )
        wants_context = any(parameter.name == "context" for parameter in parameters)
        if not wants_context:
            parameters.append(
                inspect.Parameter(
                    "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
                )
            )

        def run(context: typer.Context, **values: Any) -> None:
            if wants_context:
                values["context"] = context
            sources = told_sources(context, names)
            options = {name: values.pop(name) for name in names}
            for name in names:
                if _kind(hints[name]) is tuple:
                    options[name] = _split_commas(options[name] or ())
            try:
                settings = Settings(**options)
            except SettingsError as error:
                raise SettingsError(f"{error} ({sources})" if sources else str(error)) from error
            for line in (*misspelt(), sources):
                if line:
                    aside(line)
            command(settings, **values)

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by Typer
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.settings = names  # type: ignore[attr-defined]  # read by settings_of()
        return run

    return decorate


def settings_of(command: Callable[..., Any] | None) -> tuple[str, ...]:
    """The settings that a command takes; empty if it has no ``with_settings``."""
    return getattr(command, "settings", ())


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether a setting is given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def told_sources(context: typer.Context, names: tuple[str, ...]) -> str:
    """List the settings that come from the environment or the file; empty if there are none.

    A forgotten variable or file must not change a command silently.
    """
    by_variable, by_file = [], []
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "ENVIRONMENT":
            variable = variable_of(name)
            by_variable.append(f"{variable}={_shown(os.environ.get(variable, ''))}")
        elif source is not None and source.name == "DEFAULT_MAP":
            by_file.append(f"{name}={_shown((context.default_map or {}).get(name))}")
    parts = []
    if by_variable:
        parts.append(f"from the environment: {', '.join(by_variable)}")
    if by_file:
        parts.append(f"from {FILE}: {', '.join(by_file)}")
    return f"settings {'; '.join(parts)}" if parts else ""


def misspelt() -> list[str]:
    """A warning for each ``TREINO_*`` variable that belongs to no setting."""
    variables = [variable_of(f.name) for f in fields(Settings)]
    lines = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in variables:
            near = difflib.get_close_matches(name, variables, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists the settings"
            lines.append(f"treino: warning: {printable(name)} is not a setting; {hint}")
    return lines


def explained(error: Any) -> str:
    """Message of a usage error, with the source of the value if it is not the command line."""
    message: str = error.format_message()
    context, parameter = (getattr(error, name, None) for name in ("ctx", "param"))
    source = told_sources(context, (parameter.name,)) if context and parameter else ""
    return f"{message} ({source})" if source else message


def from_file(folder: Path, commands: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Defaults of each command from ``treino.toml`` in a folder; empty if there is no file.

    Other options of a command may have the name of a setting; the file does not set them.

    Args:
        folder: The folder.
        commands: The settings that each command takes.

    Raises:
        SettingsError: The file cannot be read, is not TOML, has an unknown setting, or has a value
            of the wrong type.
    """
    values = _checked(_content(folder / FILE))
    return {
        command: {name: value for name, value in values.items() if name in taken}
        for command, taken in commands.items()
    }


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{FILE}: cannot read the file: {error.strerror}") from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{FILE}: line {line} is not UTF-8: save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # not TOML, or a number or nesting too large
        raise SettingsError(f"{FILE}: {error}") from error


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with their names and types checked. The command line parses strings."""
    hints = get_type_hints(Settings)
    checked = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name.replace("-", "_"), hints, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists them"
            raise SettingsError(f"{FILE}: unknown setting {name!r}; {hint}")
        kind = _kind(hints[name])
        if not _fits(value, kind):
            raise SettingsError(f"{FILE}: {name} = {value!r}: expected {_EXPECTED[kind]}")
        checked[name] = [value] if kind is tuple and isinstance(value, str) else value
    return checked


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, str):
        return True
    if kind is tuple:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float)


def _kind(hint: Any) -> type:
    """Type of a setting (bool, int, float, str or tuple) from its hint, optional or not."""
    kind: type = get_origin(hint) or hint
    return kind if kind in _EXPECTED else next(p for p in get_args(hint) if p in _EXPECTED)


def _split_commas(values: Any) -> tuple[str, ...]:
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(part for part in parts if part)


def _shown(value: object) -> str:
    from storage.engine import masked

    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return printable(masked(text))
