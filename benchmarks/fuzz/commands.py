"""Whole commands, with any arguments, variables and configuration files, beside a real study.

They run in this process. None of them trains: what is to be seen is that each ends well or with
one line, and that the study is afterwards what it was.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import create_trial

from benchmarks.fuzz.support import argument, check_message, damage, damaged, examples
from models.environment import settled
from search.cli.app import main
from search.errors import TreinoError
from search.scheduling.curves import read
from search.settings import Settings, flag_of, variable_of
from search.spaces.builtin import SPACES, make_space
from search.spaces.custom_ranges import OwnRanges
from search.spaces.training_defaults import TrainingDefaults
from search.study.opening import Opening, open_study
from search.study.recipe import ImagesRecord, StudyRecipe
from search.workers import cgroups
from search.workers.hardware import gpus
from storage.engine import open_storage

STUDY = "kept"
_LISTINGS = (["studies"], ["leaderboard"], ["studies", "--json"], ["leaderboard", "--json"])
_NAMES = ("study", "storage", "data", "prior", "space", "trials", "seed", "timeout", "image_size")


def fuzz_commands(number: int, folder: Path) -> None:
    """Commands with any arguments, TREINO_ variables and treino.toml."""
    folder.mkdir()
    _make_study(folder)
    before = _command(folder, ["studies", "--json"])[1]
    options = st.tuples(st.sampled_from(_NAMES), argument)
    # Of no command that would train: these look, or have no such study or images.
    leading = st.sampled_from(
        [*_LISTINGS, ["claims", "--json"], ["data", "--data", "none"], ["search", "--data", "none"]]
    )
    table = st.sampled_from([field.name for field in fields(Settings)])
    line = st.tuples(table, argument).map(lambda pair: f"{pair[0]} = {pair[1]!r}\n")
    toml = (
        st.none() | st.binary(max_size=60) | line.map(lambda text: text.encode("utf-8", "replace"))
    )

    @examples(number)
    @given(
        leading, st.lists(options, max_size=2), st.dictionaries(table, argument, max_size=2), toml
    )
    def commands(
        command: list[str],
        given_options: list[tuple[str, str]],
        variables: dict[str, str],
        file: bytes | None,
    ) -> None:
        arguments = [*command]
        for option, value in given_options:
            arguments += [flag_of(option), value]
        environ = {variable_of(key): value for key, value in variables.items()}
        _command(folder, arguments, environ, file)

    commands()
    assert _command(folder, ["studies", "--json"])[1] == before, "the study has changed"


def fuzz_environment(number: int, folder: Path) -> None:
    """Variables that other programs, containers and batch systems set."""
    assignments = [
        "KERAS_BACKEND",
        "KERAS_HOME",
        "TF_XLA_FLAGS",
        "XLA_FLAGS",
        "MPLBACKEND",
        "HOME",
        "PATH",
    ]
    names = st.sampled_from(assignments) | argument.filter(lambda text: text and "=" not in text)
    numbers = count()

    @examples(number)
    @given(st.dictionaries(names, argument, max_size=6))
    def variables(environ: dict[str, str]) -> None:
        ours = settled(environ)
        assert ours["KERAS_BACKEND"] == "tensorflow"
        assert settled(ours) == ours

    @examples(number // 8)
    @given(argument)
    def devices(chosen: str) -> None:
        with _environment({"CUDA_VISIBLE_DEVICES": chosen, "PATH": str(folder)}):
            assert gpus() == []

    @examples(number // 4)
    @given(argument, argument, argument)
    def groups(own: str, mounts: str, limit: str) -> None:
        root = folder / f"machine {next(numbers)}"
        process = root / "proc/self"
        process.mkdir(parents=True)
        mount = "1 1 0:1 / /cgroup rw - cgroup2 cgroup2 rw\n"
        (process / "cgroup").write_text(f"0::/\n{own}", "utf-8", "replace")
        (process / "mountinfo").write_text(f"{mount}{mounts}", "utf-8", "replace")
        (root / "cgroup").mkdir()
        for name in ("cpu.max", "memory.max", "memory.current", "memory.stat"):
            (root / "cgroup" / name).write_text(limit, "utf-8", "replace")
        assert (cgroups.cpu_limit(root) or 0) >= 0
        assert (cgroups.memory_left(root) or 0) >= 0

    variables()
    devices()
    groups()


def fuzz_files(number: int, folder: Path) -> None:
    """Files that a setting names: ranges of one's own in TOML, recorded curves."""
    space = Path("examples/space.toml").read_bytes()
    recorded = Path("search/scheduling/priors/digits.json").read_bytes()[:3000]
    bases = {name: make_space(name, TrainingDefaults(epochs=20), 32) for name in SPACES}
    path = folder / "a file"

    @examples(number)
    @given(st.binary(max_size=80) | st.builds(damaged, st.just(space), st.floats(0, 1), damage))
    def ranges(content: bytes) -> None:
        path.write_bytes(content)
        try:
            OwnRanges.read(path, bases)
        except TreinoError as error:
            check_message(error)

    @examples(number)
    @given(st.binary(max_size=80) | st.builds(damaged, st.just(recorded), st.floats(0, 1), damage))
    def curves(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except TreinoError as error:
            check_message(error)

    ranges()
    curves()


def _make_study(folder: Path) -> None:
    storage = open_storage(str(folder / "var/treino.db"), write=True)
    space = make_space("documents", TrainingDefaults(epochs=2), 32)
    images = ImagesRecord(name="x", fingerprint="1", side=32, classes=("a", "b"))
    recipe = StudyRecipe(
        images=images, space=space.record(), training=space.training, monitor="val_loss", seed=0
    )
    opening = Opening(
        data="none",
        name_derived=False,
        decoded="none",
        skip_bad_images=False,
        image_limit=None,
        settings={},
        versions={},
    )
    study, _ = open_study(storage, STUDY, recipe, opening)
    distributions: dict[str, BaseDistribution] = {"rate": FloatDistribution(0, 1)}
    study.add_trial(create_trial(value=1.0, params={"rate": 0.5}, distributions=distributions))
    storage.engine.dispose()


def _command(
    folder: Path,
    arguments: Sequence[str],
    environ: Mapping[str, str] | None = None,
    toml: bytes | None = None,
) -> tuple[int, str]:
    """Run a command in ``folder``; returns its exit code and standard output."""
    file = folder / "treino.toml"
    file.unlink(missing_ok=True)
    if toml is not None:
        file.write_bytes(toml)
    out, err, code = io.StringIO(), io.StringIO(), 0
    here = Path.cwd()
    os.chdir(folder)
    try:
        with (
            _environment(environ or {}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os.chdir(here)
    said = [line for line in err.getvalue().splitlines() if not _is_remark(line)]
    assert code in (0, 1, 2), (arguments, code)
    assert len(said) == (code != 0), (arguments, environ, toml, said)
    assert all(line.startswith("treino: ") for line in said), said
    out.getvalue().encode()
    return code, out.getvalue()


def _is_remark(line: str) -> bool:
    return line.startswith(("treino: warning: ", "settings from", "data: "))


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
