"""How settings reach a command: as its options, from ``TREINO_*`` variables, from ``treino.toml``.

Importing this module imports neither TensorFlow nor Optuna: `treino --help` answers at once.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
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
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    tuple: "a list of texts",
}


class Commands(TyperGroup):
    """The commands, each listed with the first paragraph of its help, whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list; click's own cuts every line off at the terminal's width."""
        told = [(name, inspect.cleandoc(c.help or "")) for name, c in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, text.partition("\n\n")[0]) for name, text in told])


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the named settings as options, and call it with a Settings.

    The command's first parameter takes the Settings; its further ones stay its own. Which settings
    come from the environment or from the file is told on standard error.
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
            several = _kind(hints[name]) is tuple
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
                    default=None if several else table[name].default,
                    annotation=Annotated[list[str] | None if several else hints[name], option],
                )
            )
        context = inspect.Parameter(
            "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )

        def run(context: typer.Context, **values: Any) -> None:
            told = told_sources(context, names)
            given = {name: values.pop(name) for name in names}
            for name in names:
                if _kind(hints[name]) is tuple:
                    given[name] = _by_commas(given[name] or ())
            try:
                settings = Settings(**given)
            except SettingsError as error:
                raise SettingsError(f"{error} ({told})" if told else str(error)) from error
            for line in (*misspelt(), told):
                if line:
                    aside(line)
            command(settings, **values)

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature([*parameters, context])  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {p.name: p.annotation for p in (*parameters, context)}
        return run

    return decorate


def told_sources(context: typer.Context, names: tuple[str, ...]) -> str:
    """Which of the settings come from the environment and from the file; empty where none do.

    A shell or a file nobody thinks of any more must not steer a command without a word.
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
    """A warning for each variable that looks like a setting's and is none."""
    known = [variable_of(f.name) for f in fields(Settings)]
    lines = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists the settings"
            lines.append(
                f"treino: warning: {printable(name)} is the variable of no setting; {hint}"
            )
    return lines


def explained(error: Any) -> str:
    """What is wrong with a command line, and where the value comes from if not from there."""
    message: str = error.format_message()
    context, parameter = (getattr(error, name, None) for name in ("ctx", "param"))
    told = told_sources(context, (parameter.name,)) if context and parameter else ""
    return f"{message} ({told})" if told else message


def from_file(folder: Path, commands: list[str]) -> dict[str, dict[str, Any]]:
    """The defaults that ``treino.toml`` in a folder gives each command; none without the file.

    Raises:
        SettingsError: The file cannot be read, is no TOML, names an unknown setting, or gives one
            a value of another type.
    """
    values = _checked(_content(folder / FILE))
    return {command: dict(values) for command in commands}


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{FILE}: expected a file to read: {error.strerror}") from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{FILE}: line {line} is not UTF-8: save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # no TOML, or a number or nesting without end
        raise SettingsError(f"{FILE}: {error}") from error


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a command line takes them; texts are left for it to understand."""
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
    """bool, int, float, str or tuple, of which a setting is, optional or not."""
    kind: type = get_origin(hint) or hint
    return kind if kind in _EXPECTED else next(p for p in get_args(hint) if p in _EXPECTED)


def _by_commas(values: Any) -> tuple[str, ...]:
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(part for part in parts if part)


def _shown(value: object) -> str:
    from storage.engine import masked

    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return printable(masked(text))
