"""How settings reach a command: flags, variables, treino.toml, and what is said of them."""

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
import pytest
import typer
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from search.cli.app import app, main
from search.cli.options import Commands, explained, from_file, with_settings
from search.errors import SettingsError
from search.settings import FILE, Settings, flag_of, variable_of
from storage.engine import open_storage

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NAMES = [field.name for field in fields(Settings) if field.metadata["flag"] is None]


seen: list[Settings] = []
probe = typer.Typer(cls=Commands, rich_markup_mode=None)


@probe.command()
@with_settings(*NAMES)
def take(settings: Settings) -> None:
    """Keep what came."""
    seen.append(settings)


@probe.command()
@with_settings()
def other(_settings: Settings) -> None:
    """Do nothing: a second command, so that the first has to be named."""


def taken(arguments: list[str], toml: dict[str, Any] | None = None) -> Settings:
    """The settings that a command is called with.

    Raises:
        SettingsError: As the command line tells it.
    """
    command = typer.main.get_command(probe)
    usage_error: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        command.main(["take", *arguments], standalone_mode=False, default_map={"take": toml or {}})
    except usage_error as error:
        raise SettingsError(explained(error)) from error
    return seen.pop()


def words(text: str) -> str:
    """A text without what wrapping changes."""
    return "".join(text.split())


@pytest.mark.parametrize("width", ["1", "40", "80", "200", "abc", ""])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_whole_at_any_width(
    name: str, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = words(capsys.readouterr().out)
    assert words(COMMANDS[name].help) in shown
    for option in COMMANDS[name].params:
        assert words(option.help or "") in shown
        assert all(flag in shown for flag in option.opts if flag.startswith("-"))


def test_the_list_of_commands_shows_what_each_does_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = words(capsys.readouterr().out)
    for command in COMMANDS.values():
        assert words(inspect.cleandoc(command.help).partition("\n\n")[0]) in shown


def test_helps_name_their_defaults() -> None:
    for name in ("trials", "timeout", "study", "images", "budget_epochs"):
        (text,) = (f.metadata["help"] for f in fields(Settings) if f.name == name)
        assert re.search(r"\[default: .+\]\.$", text)


def test_settings_of_the_environment_and_the_file_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TREINO_TRIALS", "50")
    monkeypatch.setenv("TREINO_STORAGE", "postgresql://user:secret@host/x")
    monkeypatch.setenv("TREINO_SEED", "")
    found = taken(["--epochs", "3"], {"epochs": 5, "pruner": "none", "keep": 2})
    assert (found.trials, found.epochs, found.keep, found.seed) == (50, 3, 2, 0)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "settings from the environment: TREINO_STORAGE=postgresql://user:***@host/x, "
        "TREINO_TRIALS=50; from treino.toml: pruner=none, keep=2\n"
    )


def test_a_variable_of_no_setting_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TREINO_TRIAL", "5")
    monkeypatch.setenv("TREINOTRIALS", "5")
    assert taken([]).trials is None
    assert capsys.readouterr().err == (
        "treino: warning: TREINO_TRIAL is not a setting; did you mean TREINO_TRIALS?\n"
    )


def test_flags_and_defaults_need_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    taken(["--trials", "3"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("variable", "value"), [("TRIALS", "many"), ("TRIALS", "0")])
def test_a_bad_value_says_where_it_comes_from(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TREINO_{variable}", value)
    with pytest.raises(SettingsError, match=f"--trials.*from the environment: .*={value}"):
        taken([])
    monkeypatch.delenv(f"TREINO_{variable}")
    with pytest.raises(SettingsError, match=r"--keep.*from treino\.toml: keep=-1"):
        taken([], {"keep": "-1"})


def test_json_stays_alone_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = str(tmp_path / "x.db")
    storage = open_storage(database, write=True)
    optuna.create_study(storage=storage, study_name="[bold]x")
    storage.engine.dispose()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TREINO_STORAGE", database)
    with pytest.raises(SystemExit) as left:
        main(["studies", "--json"])
    assert not left.value.code
    shown = capsys.readouterr()
    assert [row["name"] for row in json.loads(shown.out)] == ["[bold]x"]
    assert shown.err.startswith("settings from the environment: TREINO_STORAGE=")
    with pytest.raises(SystemExit):
        main(["studies"])
    assert "[bold]x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given_as", "names"),
    [
        ({"flags": ["--allow-host", "a", "--allow-host", "b,c"]}, ("a", "b", "c")),
        ({"variable": "a, b,,c"}, ("a", "b", "c")),
        ({"toml": 'allow_host = ["a", "b"]'}, ("a", "b")),
        ({"toml": 'allow_host = "a,b"'}, ("a", "b")),
        ({}, ()),
    ],
)
def test_a_setting_of_several_values(
    given_as: dict[str, Any],
    names: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / FILE).write_text(given_as.get("toml", ""), encoding="utf-8")
    if "variable" in given_as:
        monkeypatch.setenv("TREINO_ALLOW_HOST", given_as["variable"])
    found = taken(given_as.get("flags", []), from_file(tmp_path, {"take": NAMES})["take"])
    assert found.allow_host == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'data = "imagens\xe7"', "line 1 is not UTF-8"),
        (b"trials = 3\r\n# \xe7\r\n", "line 2 is not UTF-8"),
        (b"\xff\xfet\x00", "is not UTF-8"),
        (b"[search]\ntrials = 5", "unknown setting 'search'"),
        (b"image-size = 16", "unknown setting 'image-size'; did you mean image_size?"),
        (b"trails = 5", "did you mean trials?"),
        (b"trials = [1, 2]", "trials = [1, 2]: expected an integer"),
        (b"trials = 1.5", "expected an integer"),
        (b"trials = true", "expected an integer"),
        (b"trials = 1979-05-27", "expected an integer"),
        (b"timeout = {a = 1}", "expected a number"),
        (b"skip_bad_images = 1", "expected true or false"),
        (b"data = []", "expected a quoted string"),
        (b"allow_host = [1]", "expected a list of strings"),
        (b"trials = " + b"9" * 5000, "treino.toml: "),
        (b"trials = " + b"[" * 5000, "treino.toml: "),
        (b"trials", "treino.toml: "),
    ],
)
def test_a_settings_file_as_people_write_it_is_refused_in_one_line(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        from_file(tmp_path, {"search": NAMES})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbftrials = 3\r\n", 3),
        (b'trials = "3"', 3),
        (b"trials = 3.0", 3),
        (b"trials = 3  # \xc3\xa7", 3),
        (b"", None),
        (b"\xef\xbb\xbf", None),
    ],
)
def test_a_settings_file_as_editors_save_it_is_read(
    content: bytes, value: int | None, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert taken([], from_file(tmp_path, {"take": NAMES})["take"]).trials == value


@pytest.mark.parametrize("command", ["predict", "export"])
def test_the_file_sets_no_option_that_only_has_the_name_of_a_setting(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("print('runs')")
    (tmp_path / FILE).write_text('space = "net.py:build"\nimages = 200\n')
    arguments = {"predict": ["model.keras", "one.png"], "export": ["model.keras", "--to", "onnx"]}
    with pytest.raises(SystemExit):
        main([command, *arguments[command]])
    told = capsys.readouterr()
    assert "model.keras" in told.err
    assert "runs" not in told.out


def test_without_a_file_there_are_no_defaults_and_a_folder_is_none(tmp_path: Path) -> None:
    assert from_file(tmp_path, {"search": NAMES}) == {"search": {}}
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match=r"treino\.toml: cannot read the file"):
        from_file(tmp_path, {"search": NAMES})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(mode=0)
    with pytest.raises(SettingsError, match="Permission denied"):
        from_file(tmp_path, {"search": NAMES})


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--timeout", "inf", "at most"),
        ("--timeout", "nan", "more than 0"),
        ("--timeout", "1e308", "at most"),
        ("--trials", str(2**63), "less than 2**63"),
        ("--seed", str(2**63), "less than 2**63"),
        ("--seed", "-1", "0 or more"),
        ("--epochs", "100001", "100000 or less"),
        ("--study", "a\0b", "without NUL"),
        ("--study", "imagens\udce7", "UTF-8"),
        ("--data", "a\0b", "without NUL"),
    ],
)
def test_limits_of_settings_are_told(flag: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        taken([f"{flag}={value}"])
    assert str(caught.value).startswith(flag)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--timeout", "1e9"),
        ("--timeout", "1e-300"),
        ("--trials", str(10**18)),
        ("--seed", str(2**63 - 1)),
        ("--epochs", "100000"),
        ("--data", "imagens\udce7"),
    ],
)
def test_what_is_within_the_limits_is_taken(flag: str, value: str) -> None:
    taken([f"{flag}={value}"])


TEXTS = st.one_of(
    st.text(),
    st.binary().map(os.fsdecode),  # as arguments and variables come
    st.sampled_from(
        ["", " ", "inf", "nan", "-0", "1e308", "1e999", "0x10", "1_0", "٣", "true", "[bold]x"]
        + [str(sign * 2**power + by) for sign in (1, -1) for power in (31, 63) for by in (-1, 0)]
    ),
)


@hypothesis_settings(max_examples=60)
@given(st.sampled_from(NAMES), TEXTS)
def test_any_text_as_a_setting_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    for toml, arguments in (({name: value}, []), ({}, [f"{flag_of(name)}={value}"])):
        try:
            found = taken(arguments, toml)
        except SettingsError as error:
            assert flag_of(name) in str(error)
        else:
            assert isinstance(found, Settings)


@hypothesis_settings(max_examples=60)
@given(st.sampled_from(NAMES), TEXTS.filter(lambda text: "\0" not in text))
def test_any_text_as_a_variable_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # no variable can hold it
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable_of(name), value)
        try:
            taken([])
        except SettingsError as error:
            assert flag_of(name) in str(error)


@hypothesis_settings(max_examples=60)
@given(content=st.one_of(st.binary(), st.sampled_from(NAMES).map(str.encode), st.text().map(repr)))
def test_any_settings_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    folder = tmp_path_factory.mktemp("toml")
    raw = content if isinstance(content, bytes) else f"data = {content}".encode()
    (folder / FILE).write_bytes(raw)
    try:
        found = from_file(folder, {"search": NAMES})["search"]
    except SettingsError as error:
        assert str(error).startswith(f"{FILE}: ")
    else:
        assert found.keys() <= set(NAMES)


def test_starting_needs_no_rich_table_and_no_pydantic_model() -> None:
    code = "import sys, search.cli.app; print('rich.table' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert made.stdout == "False\n"
