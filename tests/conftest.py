"""What every test gets: an awkward temporary folder and an environment without surprises."""

import gc
import os
import shutil
import signal
import sqlite3  # noqa: F401 - before a test loads TensorFlow, which brings another SQLite
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import models  # noqa: F401 - before a test loads TensorFlow: it says how
from search.spaces.training_defaults import TrainingDefaults

if TYPE_CHECKING:
    from tests.support.laboratory import Lab

# A scrubbed environment: no setting of the developer's may reach a test, and no test may reach
# the developer's cache or a network proxy.
for name in [name for name in os.environ if name.startswith(("TREINO_", "OPTUNA_"))]:
    del os.environ[name]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["MPLBACKEND"] = "Agg"


# No example has a time limit: beside other work any of them may be slow.
settings.register_profile("treino", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("treino")


def have_room(folder: Path) -> bool:
    """Whether a folder may be written and has room for all that the tests leave."""
    try:
        return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 4 * 2**30
    except OSError:
        return False


# In memory, where nothing waits for a disk: that was a third of the tests' time.
if have_room(MEMORY := Path("/dev/shm")):  # noqa: S108 - pytest's folder in it is the user's own
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Nor may the way in which the tests were started: nohup has SIGHUP ignored, and a shell's
# background jobs SIGINT, in everything that is started from them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What modules import stays, and is not looked through each time that garbage is collected.

    It is a million objects, with TensorFlow; Keras collects garbage after each network.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def migrations_read_once() -> Iterator[None]:
    """Optuna reads its thirty migrations three times for each new database: here, once for all."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def remembered(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", remembered)
        yield


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


@pytest.fixture(autouse=True)
def commands_ended() -> Iterator[None]:
    """No command outlives its test: what a failed one leaves would fail the next one, too."""
    yield
    if "tests.support.commands" in sys.modules:
        sys.modules["tests.support.commands"].end_all()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Lab]":
    """A place for searches on simulated workers, with three classes of tiny images.

    Its trials' pictures are blank: to draw them takes longer than all else that a search on
    simulated workers does.
    """
    import optuna

    from data.catalog import load
    from search.figures import plots
    from search.spaces.builtin import Documents
    from tests.support.laboratory import EPOCHS, Lab, Said, blank_picture
    from tests.support.pictures import image_folder

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(plots, "draw_curves", blank_picture)
    choice = load(str(image_folder(tmp_path / "images")), image_size=32)
    space = Documents(TrainingDefaults(epochs=EPOCHS), 32)
    lab = Lab(choice.dataset, tmp_path / "var", space, Said())
    yield lab
    lab.close()
