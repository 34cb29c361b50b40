"""Bad input by the thousand: each case ends well or with an error that has a name and one line.

Part of ``make chaos``; ``tests/test_fuzz.py`` runs a few of each kind.
"""

import argparse
import string
import struct
import tempfile
import time
from contextlib import suppress
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import optuna
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.catalog import load
from data.dataset import DataError
from data.decode import decode
from data.sources import read_idx
from models.checkpoint import Checkpoint, CheckpointError
from models.history import EpochFigures
from models.spec import ModelSpec, SpecError, TrainingSpec, count_parameters
from search.errors import SettingsError
from search.settings import Settings, from_file
from storage.engine import StorageError, database_url, open_storage
from storage.files import Layout
from storage.study import create_or_check

_word = st.text(string.ascii_letters + string.digits + "._-/\\ é\0\n", max_size=30)
_toml = st.recursive(
    st.one_of(_word, st.integers(), st.floats(), st.booleans()).map(repr),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
_damage = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20)


def _damaged(content: bytes, cut: float, changes: list[tuple[float, int]]) -> bytes:
    """Content cut short and with some bytes changed."""
    kept = bytearray(content[: int(len(content) * cut)])
    for where, byte in changes:
        if kept:
            kept[int(where * (len(kept) - 1))] = byte
    return bytes(kept)


def _one_line(error: Exception) -> None:
    assert str(error).strip(), f"{type(error).__name__} without a message"
    assert len(str(error).splitlines()) == 1, str(error)


def fuzz_settings(examples: int) -> None:
    """Settings of any value, as a command line or a file may give them."""
    names = [field.name for field in fields(Settings)]

    @_run(examples)
    @given(st.text(max_size=80) | st.lists(st.tuples(st.sampled_from(names), _toml)).map(_as_toml))
    def file(text: str) -> None:
        try:
            from_file(text, ["search"])
        except SettingsError as error:
            _one_line(error)

    # What the command line makes of its words before it makes Settings of them.
    kinds = {str: _word, int: st.integers(-10, 2**70), float: st.floats(), bool: st.booleans()}
    typed = st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(*(kinds[kind] for kind in get_args(hint) or (hint,) if kind in kinds))
            for name, hint in get_type_hints(Settings).items()
        },
    )

    @_run(examples)
    @given(typed)
    def values(changes: dict[str, object]) -> None:
        try:
            Settings(**changes)  # type: ignore[arg-type]
        except SettingsError as error:
            _one_line(error)

    file()
    values()


def _as_toml(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in pairs)


def fuzz_specs(examples: int) -> None:
    """Spec JSON: any text, and valid specs with damage."""
    whole = ModelSpec.from_json(
        '{"blocks": [{"filters": 32, "dropout": 0.3}], "dense": {"units": 64}}'
    )

    @_run(examples)
    @given(
        st.text(max_size=100)
        | st.builds(_damaged, st.just(whole.to_json().encode()), st.floats(0, 1), _damage)
    )
    def specs(text: str | bytes) -> None:
        for kind in (ModelSpec, TrainingSpec):
            try:
                spec = kind.from_json(text)
                if isinstance(spec, ModelSpec):
                    count_parameters(spec, (32, 32, 3), 10)
            except SpecError as error:
                _one_line(error)

    specs()


def fuzz_checkpoints(examples: int, folder: Path) -> None:
    """Checkpoints cut short and damaged."""
    figures = EpochFigures(1, *[0.5] * 8)
    state = {"weight_0000": np.ones((3, 4), np.float32), "seed_0000": np.array([1, 2])}
    Checkpoint((figures,), False, state, [np.ones(3)]).save(folder / "whole.npz")
    whole = (folder / "whole.npz").read_bytes()

    @_run(examples)
    @given(st.floats(0, 1), _damage)
    def checkpoints(cut: float, changes: list[tuple[float, int]]) -> None:
        path = folder / "damaged.npz"
        path.write_bytes(_damaged(whole, cut, changes))
        try:
            Checkpoint.load(path)
        except CheckpointError as error:
            _one_line(error)

    checkpoints()


def fuzz_images(examples: int, folder: Path) -> None:
    """Image files and IDX files cut short and damaged."""
    kinds = []
    for kind in ("PNG", "JPEG", "BMP", "WEBP"):
        file = BytesIO()
        Image.new("RGB", (12, 9), (200, 30, 90)).save(file, kind)
        kinds.append(file.getvalue())

    @_run(examples)
    @given(st.sampled_from(kinds), st.floats(0, 1), _damage)
    def images(content: bytes, cut: float, changes: list[tuple[float, int]]) -> None:
        with suppress(ValueError):
            assert decode(_damaged(content, cut, changes), 8).shape == (8, 8, 3)

    @_run(examples // 4)
    @given(st.binary(max_size=60))
    def idx(content: bytes) -> None:
        path = folder / "array.gz"
        path.write_bytes(struct.pack(">HBB", 0, 8, 1) + content)
        try:
            read_idx(path)
        except DataError as error:
            _one_line(error)

    images()
    idx()


def fuzz_folders(examples: int, folder: Path) -> None:
    """Folders of every shape."""
    file = BytesIO()
    Image.new("L", (9, 9)).save(file, "PNG")
    part = st.sampled_from(
        ["train", "validation", "val", "test", "train1", "a", "b", "000_a", "c.png"]
    )
    path = st.lists(part, min_size=1, max_size=3).map("/".join)
    number = iter(range(10**9))

    @_run(examples)
    @given(
        st.lists(
            st.tuples(path, st.sampled_from(["1.png", "2.png", "x.txt", ".y.png"])), max_size=12
        )
    )
    def folders(files: list[tuple[str, str]]) -> None:
        root = folder / f"images {next(number)}"
        root.mkdir()
        for where, name in files:
            with suppress(OSError):  # a file where a folder would have to be
                (root / where).mkdir(parents=True, exist_ok=True)
                (root / where / name).write_bytes(file.getvalue())
        try:
            load(str(root), image_size=8, cache=folder / "cache", skip_bad_images=True)
        except DataError as error:
            _one_line(error)

    folders()


def fuzz_databases(examples: int, folder: Path) -> None:
    """Databases cut short and damaged, and URLs and names of any kind."""
    storage = open_storage(database_url(str(folder / "whole.db")), write=True)
    create_or_check(storage, "study", {"data": "x"})
    storage.engine.dispose()
    whole = (folder / "whole.db").read_bytes()

    @_run(examples)
    @given(st.floats(0, 1), _damage)
    def databases(cut: float, changes: list[tuple[float, int]]) -> None:
        path = folder / "damaged.db"
        path.write_bytes(_damaged(whole, cut, changes))
        try:
            opened = open_storage(database_url(str(path)), write=False)
            opened.engine.dispose()
        except StorageError as error:
            _one_line(error)

    @_run(examples)
    @given(_word)
    def names(text: str) -> None:
        try:
            database_url(text)
        except StorageError as error:
            _one_line(error)
        try:
            path = Layout(folder / "var").run(text, "run").checkpoint
        except StorageError as error:
            _one_line(error)
        else:
            assert path.resolve().is_relative_to((folder / "var").resolve())

    databases()
    names()


def _run(examples: int) -> "settings":
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def fuzz(examples: int) -> int:
    """Fuzz every kind of input; returns about how many cases were tried."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fuzz_settings(examples)
        fuzz_specs(examples)
        fuzz_checkpoints(examples, folder)
        fuzz_images(examples, folder)
        fuzz_folders(max(examples // 4, 1), folder)
        fuzz_databases(max(examples // 4, 1), folder)
    return 5 * examples + 4 * max(examples // 4, 1)


def main() -> None:
    """Fuzz until the first case that ends otherwise, which Hypothesis then shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=400, help="of most kinds of input")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begun = time.monotonic()
    cases = fuzz(parser.parse_args().examples)
    seconds = time.monotonic() - begun
    print(f"fuzz: {cases:,} bad inputs in {seconds:.0f} s, no traceback, nothing lost")


if __name__ == "__main__":
    main()
