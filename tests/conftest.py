"""What every test gets: an awkward temporary folder and an environment without surprises."""

import os
from pathlib import Path

import pytest

import models  # noqa: F401 - before a test loads TensorFlow: it says how

# A scrubbed environment: no setting of the developer's may reach a test, and no test may reach
# the developer's cache or a network proxy.
for name in [name for name in os.environ if name.startswith(("TREINO_", "OPTUNA_"))]:
    del os.environ[name]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A temporary folder whose name breaks code that forgets to quote or to encode."""
    ugly = tmp_path / "a folder with spaces, 'quotes' & açúcar"
    ugly.mkdir()
    return ugly


@pytest.fixture(autouse=True)
def scrubbed_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An empty home folder and an empty cache for each test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return home
