"""Settings, specs, checkpoints, databases and names."""

from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz.support import check_message, damage, damaged, examples, word
from models.checkpoint import Checkpoint, CheckpointError
from models.history import EpochFigures
from models.spec import ModelSpec, SpecError, TrainingSpec, count_parameters
from search.cli.options import from_file
from search.errors import SettingsError
from search.settings import FILE, Settings
from storage.engine import database_url, open_storage
from storage.errors import StorageError
from storage.files import Layout
from storage.study import open_or_create

_toml = st.recursive(
    st.one_of(word, st.integers(), st.floats(), st.booleans()).map(repr),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)


def fuzz_settings(number: int, folder: Path) -> None:
    """Settings of any value, as a command line or a file may give them."""
    names = [field.name for field in fields(Settings)]
    lines = st.lists(st.tuples(st.sampled_from(names), _toml)).map(_as_toml)

    @examples(number)
    @given(st.binary(max_size=80) | lines.map(str.encode))
    def file(content: bytes) -> None:
        (folder / FILE).write_bytes(content)
        try:
            from_file(folder, {"search": names})
        except SettingsError as error:
            check_message(error)

    # What the command line makes of its words before it makes Settings of them.
    kinds: dict[object, st.SearchStrategy[object]] = {
        str: word,
        int: st.integers(-10, 2**70),
        float: st.floats(),
        bool: st.booleans(),
        tuple[str, ...]: st.lists(word, max_size=3).map(tuple),
    }
    typed = st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(*(kinds[kind] for kind in (hint, *get_args(hint)) if kind in kinds))
            for name, hint in get_type_hints(Settings).items()
        },
    )

    @examples(number)
    @given(typed)
    def values(changes: dict[str, object]) -> None:
        try:
            Settings(**changes)  # type: ignore[arg-type]
        except SettingsError as error:
            check_message(error)

    file()
    values()


def _as_toml(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in pairs)


def fuzz_specs(number: int) -> None:
    """Spec JSON: any text, and valid specs with damage."""
    whole = ModelSpec.from_json(
        '{"blocks": [{"filters": 32, "dropout": 0.3}], "dense": {"units": 64}}'
    )

    @examples(number)
    @given(
        st.text(max_size=100)
        | st.builds(damaged, st.just(whole.to_json().encode()), st.floats(0, 1), damage)
    )
    def specs(text: str | bytes) -> None:
        for kind in (ModelSpec, TrainingSpec):
            try:
                spec = kind.from_json(text)
                if isinstance(spec, ModelSpec):
                    count_parameters(spec, (32, 32, 3), 10)
            except SpecError as error:
                check_message(error)

    specs()


def fuzz_checkpoints(number: int, folder: Path) -> None:
    """Checkpoints cut short and damaged."""
    figures = EpochFigures(1, *[0.5] * 8)
    state = {"weight_0000": np.ones((3, 4), np.float32), "seed_0000": np.array([1, 2])}
    Checkpoint((figures,), False, state, [np.ones(3)]).save(folder / "whole.npz")
    whole = (folder / "whole.npz").read_bytes()

    @examples(number)
    @given(st.floats(0, 1), damage)
    def checkpoints(cut: float, changes: list[tuple[float, int]]) -> None:
        path = folder / "damaged.npz"
        path.write_bytes(damaged(whole, cut, changes))
        try:
            Checkpoint.load(path)
        except CheckpointError as error:
            check_message(error)

    checkpoints()


def fuzz_databases(number: int, folder: Path) -> None:
    """Databases cut short and damaged, and URLs and names of any kind."""
    storage = open_storage(database_url(str(folder / "whole.db")), write=True)
    open_or_create(storage, "study", {"data": "x"})
    storage.engine.dispose()
    whole = (folder / "whole.db").read_bytes()

    @examples(number)
    @given(st.floats(0, 1), damage)
    def databases(cut: float, changes: list[tuple[float, int]]) -> None:
        path = folder / "damaged.db"
        path.write_bytes(damaged(whole, cut, changes))
        try:
            opened = open_storage(database_url(str(path)), write=False)
            opened.engine.dispose()
        except StorageError as error:
            check_message(error)

    @examples(number)
    @given(word)
    def names(text: str) -> None:
        try:
            database_url(text)
        except StorageError as error:
            check_message(error)
        try:
            path = Layout(folder / "var").run(text, "run").checkpoint
        except StorageError as error:
            check_message(error)
        else:
            assert path.resolve().is_relative_to((folder / "var").resolve())

    databases()
    names()
