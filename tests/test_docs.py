"""The README says what is true: settings, commands, make targets, links, tree."""

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from models.documented import DOCUMENTED
from search.cli import app
from search.settings import Settings, flag_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for field in fields(Settings):
        name = (
            field.name
            if field.metadata["flag"] is None
            else f"{field.name} ({flag_of(field.name)})"
        )
        default = "" if field.default is None else f"`{field.default}`".lower()
        rows.append(f"| `{name}` | {default} | {field.metadata['help']} |")
    return "\n".join(rows)


def test_the_settings_table_is_that_of_the_code() -> None:
    shown = re.search(r"<!-- settings:.*?-->\n(.*?)\n?<!-- end of settings -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == settings_table(), f"put this into the README:\n{settings_table()}"


@pytest.mark.parametrize("word", sorted(set(re.findall(r"\btreino ([a-z][a-z-]*)", README))))
def test_every_command_in_the_readme_exists(word: str) -> None:
    prose = {"takes", "does", "uses", "runs"}
    assert word in COMMANDS or word in prose


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"`treino {name}" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_every_make_target_in_the_readme_exists(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_to_a_file_leads_there(link: str) -> None:
    assert "://" in link or (ROOT / link).is_file()


def test_every_documented_run_is_named() -> None:
    assert all(name in README for name in DOCUMENTED)


def test_the_tree_has_every_top_level_folder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    folders = {Path(file).parts[0] for file in tracked if "/" in file} - {".ci", "docs"}
    assert all(f"\n{folder}/" in README for folder in folders)
