"""The README and the guide say what is true: settings, commands, make targets, links, tree."""

import os
import re
import signal
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from benchmarks.peers import PEERS
from models.documented import DOCUMENTED
from search.claims.catalog import CLAIMS
from search.cli.app import app, main
from search.errors import EXIT_ERROR, EXIT_USAGE
from search.replay.peers import GROUPS as REPLAYED
from search.settings import Settings, flag_of
from search.spaces.builtin import SPACES, make_space
from search.spaces.training_defaults import TrainingDefaults

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = {page.name: page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))}
TEXT = "\n".join([README, *GUIDE.values()])
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VARIABLES = sorted(
    {"STORAGE", "PYTHON", *re.findall(r"call (?:flag|given),([A-Z_]+)[,)]", MAKEFILE)}
)
TARGETS = ("search", "baseline", "dashboard", "claims", "report", "retrain-best", "bench", "test")
LONGEST_README = 150  # lines
PROSE = {
    "accepts",
    "checks",
    "delivers",
    "does",
    "estimates",
    "finds",
    "first",
    "measures",
    "prints",
    "reads",
    "says",
    "shows",
    "started",
    "starts",
    "trains",
    "turns",
    "uses",
    "waits",
    "warns",
    "with",
}


def without_blocks(text: str) -> str:
    """A page's text without its code: a link or a heading in a block is none."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[str, str]]:
    """The links of every page of ours: the page, and where the link leads."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(
        {
            (str(page.relative_to(ROOT)), link)
            for page in pages
            for link in re.findall(
                r"\]\(([^)\s]+)\)", without_blocks(page.read_text(encoding="utf-8"))
            )
            if "://" not in link
        }
    )


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for field in fields(Settings):
        name = (
            field.name
            if field.metadata["flag"] is None
            else f"{field.name} ({flag_of(field.name)})"
        )
        default = "" if field.default in (None, ()) else f"`{field.default}`".lower()
        rows.append(f"| `{name}` | {default} | {field.metadata['help']} |")
    return "\n".join(rows)


def test_the_settings_table_is_that_of_the_code() -> None:
    shown = re.search(
        r"<!-- settings:.*?-->\n(.*?)\n?<!-- end of settings -->", GUIDE["settings.md"], re.DOTALL
    )
    assert shown is not None
    assert shown[1] == settings_table(), f"put this into docs/settings.md:\n{settings_table()}"


@pytest.mark.parametrize("word", sorted(set(re.findall(r"\btreino ([a-z][a-z-]*)", TEXT))))
def test_every_command_in_the_guide_exists(word: str) -> None:
    assert word in COMMANDS or word in PROSE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_in_the_guide(name: str) -> None:
    assert f"| `treino {name}" in README
    assert f"| `treino {name}" in GUIDE["commands.md"]


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"\bmake ([a-z-]+)", TEXT + CONTRIBUTING)))
)
def test_every_make_target_in_the_guide_exists(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("target", re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
def test_every_make_target_is_in_the_guide(target: str) -> None:
    table = GUIDE["commands.md"].partition("## make")[2]
    assert re.search(rf"`(make )?{target}[ `]", table)


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", TEXT))))
def test_every_flag_in_the_guide_exists(flag: str) -> None:
    assert any(flag in flags_of(name) for name in COMMANDS)


@pytest.mark.parametrize(
    ("name", "rest"),
    sorted(
        set(
            re.findall(
                r"\btreino ([a-z][a-z-]*)([^`\n#]* --[^`\n#]*)(?:[`#]|$)", TEXT, re.MULTILINE
            )
        )
    ),
)
def test_every_command_in_the_guide_takes_its_flags(name: str, rest: str) -> None:
    assert set(re.findall(r"--[a-z-]+", rest)) <= flags_of(name)


def flags_of(name: str) -> set[str]:
    options = COMMANDS[name].params
    return {
        "--help",
        *(flag for option in options for flag in (*option.opts, *option.secondary_opts)),
    }


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\b([A-Z_]+)=", TEXT))))
def test_every_variable_in_the_guide_is_read(variable: str) -> None:
    if variable.startswith("TREINO_"):
        assert variable.removeprefix("TREINO_").lower() in {
            field.name for field in fields(Settings)
        }
    else:
        assert variable in VARIABLES


def makes(*arguments: str, **environment: str) -> str:
    """The commands that make would run."""
    made = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return " ".join(made.stdout.split())


def test_make_takes_its_variables_from_its_command_line() -> None:
    made = makes("search", "DATA=a b'c", "SEED=3", "STORAGE=x.db", "ARGS=--keep 3")
    assert "treino search --data 'a b'\\''c' --seed '3' --keep 3" in made
    assert "baseline 'run-4'" in makes("baseline", "RUN=run-4")
    assert "dashboard --port '1'" in makes("dashboard", "PORT=1")


@pytest.mark.parametrize(
    "target", ["search", "retrain-best", "claims", "report", "leaderboard", "dashboard", "baseline"]
)
def test_make_passes_on_each_variable_that_its_command_has_an_option_for(target: str) -> None:
    options = {flag for option in COMMANDS[target].params for flag in option.opts}
    variables = {name: f"--{name.lower().replace('_', '-')}" for name in VARIABLES}
    del variables["STORAGE"]  # by the environment: it may contain a password
    made = makes(target, *(f"{name}=7" for name in variables if name != "PYTHON"))
    for name, flag in variables.items():
        assert (f"{flag} '7'" in made) == (flag in options), name


def test_variables_that_a_shell_exports_do_not_steer_make() -> None:
    assert {"DATA", "SEED", "PORT", "ARGS", "RUN", "SPACE", "IMAGES"} <= set(VARIABLES)
    exported = dict.fromkeys(VARIABLES, "of-the-shell")
    assert makes(*TARGETS, **exported) == makes(*TARGETS)
    stated = makes("--print-data-base", "help", **exported)
    assert not re.search(r"TREINO_STORAGE :?= of-the-shell", stated)


def test_make_takes_what_a_parent_make_was_given(tmp_path: Path) -> None:
    parent = tmp_path / "parent.mk"
    parent.write_text(f"all:\n\t@$(MAKE) --no-print-directory -C '{ROOT}' search TRIALS=4\n")
    made = makes("-f", str(parent), "SEED=5", DATA="of-the-shell")
    assert "--seed '5' --trials '4'" in made
    assert "of-the-shell" not in made


def test_every_exit_code_in_the_guide_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = re.search(r"Exit codes: (.*?)\.\n", GUIDE["commands.md"], re.DOTALL)
    assert told is not None
    # These after real signals: tests/integration/test_cli_commands.py, test_interruption.py.
    signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
    ended = [128 + each for each in signals]
    assert [int(code) for code in re.findall(r"\d+", told[1])] == [0, 1, 2, *ended]
    asked = (["--help"], ["leaderboard", "--study", "none"], ["search", "--trials", "many"])
    assert [exit_code(arguments) for arguments in asked] == [0, EXIT_ERROR, EXIT_USAGE]
    assert (EXIT_ERROR, EXIT_USAGE) == (1, 2)


def exit_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(("page", "link"), links())
def test_every_link_leads_to_a_file_and_its_heading(page: str, link: str) -> None:
    place, _, anchor = link.partition("#")
    file = ROOT / page if not place else (ROOT / page).parent / place
    assert file.is_file()
    assert not anchor or anchor in anchors(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", GUIDE)
def test_every_page_is_linked_from_the_readme(page: str) -> None:
    assert f"](docs/{page})" in README


@pytest.mark.parametrize("page", sorted(each.name for each in ROOT.glob("docs/decisions/*.md")))
def test_every_decision_is_linked_from_the_guide(page: str) -> None:
    assert f"](decisions/{page})" in "\n".join(GUIDE.values())


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST_README


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_of_make_is_in_the_guide(variable: str) -> None:
    assert re.search(rf"\b{variable}\b", GUIDE["settings.md"].partition("## make")[2])


@pytest.mark.parametrize("name", SPACES)
def test_every_parameter_is_in_the_guide(name: str) -> None:
    table = GUIDE["spaces.md"].partition("## Ranges of your own")[0]
    parameters = make_space(name, TrainingDefaults(epochs=2), 32).distributions()
    assert all(f"`{parameter}`" in table for parameter in parameters)


def test_every_strategy_is_in_the_guide_and_every_peer_in_its_decision() -> None:
    assert all(f"`{name}`" in GUIDE["replay.md"] for name in REPLAYED["all"])
    decision = (ROOT / "docs/decisions/0009-peers.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in decision for name in PEERS)


def test_every_claim_is_in_the_guide() -> None:
    shown = re.findall(r"^\| `([a-z]+)` \| ", GUIDE["report-and-claims.md"], re.MULTILINE)
    assert shown == [claim.name for claim in CLAIMS]


def test_every_documented_run_is_named() -> None:
    assert all(f"`{name}`" in TEXT for name in DOCUMENTED)


def test_the_tree_has_every_top_level_folder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    folders = {Path(file).parts[0] for file in tracked if "/" in file} - {".ci", ".github", "docs"}
    assert all(f"\n{folder}/" in README for folder in folders)
    layers = {Path(file).parts[1] for file in tracked if re.match("search/.*/", file)}
    assert all(f" {layer}/ " in README for layer in layers)
