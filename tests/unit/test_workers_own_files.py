"""Which of a user's files travel to the nodes of a cluster."""

from pathlib import Path

import pytest

from search.errors import SettingsError
from search.workers import own_files
from search.workers.own_files import collect


def written(folder: Path, **files: str) -> None:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_file_and_what_it_imports_from_its_folder_directly_or_not(tmp_path: Path) -> None:
    written(
        tmp_path,
        net="import keras, os.path\nimport helpers\ndef build():\n    from parts.blocks import one",
        helpers="from parts import heads as h",
        parts__heads="",
        parts__blocks="from . import norms\nfrom .deep.layers import x\nfrom ..elsewhere import y",
        parts__norms="",
        parts__deep__layers="",
        unused="",
        elsewhere="",
    )
    (tmp_path / "parts/__init__.py").write_text("")
    assert set(collect(f"{tmp_path}/net.py:build")) == {
        *("net.py", "helpers.py", "elsewhere.py", "parts/__init__.py", "parts/heads.py"),
        *("parts/blocks.py", "parts/norms.py", "parts/deep/layers.py"),
    }


def test_a_module_is_looked_up_in_the_working_folder_and_an_installed_one_does_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, nets__small="import nets.large", nets__large="import numpy")
    monkeypatch.chdir(tmp_path)
    assert collect("nets.small:build") == {
        "nets/small.py": b"import nets.large",
        "nets/large.py": b"import numpy",
    }
    assert collect("keras.applications:ResNet50") == {}


def test_a_file_that_does_not_parse_travels_for_its_error_to_be_shown(tmp_path: Path) -> None:
    written(tmp_path, net="def build(:")
    assert set(collect(f"{tmp_path}/net.py:build")) == {"net.py"}


def test_a_missing_file_and_too_many_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"net\.py: No such file"):
        collect(f"{tmp_path}/net.py:build")
    monkeypatch.setattr(own_files, "MOST_BYTES", 10)
    written(tmp_path, net="x = 'more than ten bytes'")
    with pytest.raises(SettingsError, match="too much to send"):
        collect(f"{tmp_path}/net.py:build")
