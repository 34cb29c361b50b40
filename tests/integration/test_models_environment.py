"""What the environment says to the libraries, and what they are told instead."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from models.environment import settled

HOSTILE = {
    "KERAS_BACKEND": "torch",
    "KERAS_FLOATX": "float16",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_NNX_ENABLED": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --nonsense",
    "XLA_FLAGS": "--xla_no_such_flag",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "abc",
    "TF_NUM_INTRAOP_THREADS": "64",
    "TF_FORCE_GPU_ALLOW_GROWTH": "false",
    "NVIDIA_TF32_OVERRIDE": "0",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "NPY_DISABLE_CPU_FEATURES": "NONSENSE",
    "OPENBLAS_NUM_THREADS": "64",
    "OMP_NUM_THREADS": "many",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PLOTLY_RENDERER": "nonsense",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_changes_training_or_drawing_is_not_passed_on(name: str) -> None:
    ours = settled({name: HOSTILE[name]})
    assert ours == settled({})
    assert settled(ours) == ours


def test_everything_else_stays_as_it_is() -> None:
    users = {"PATH": "/bin", "MY_DEPTH": "3", "CUDA_VISIBLE_DEVICES": "1", "TREINO_TRIALS": "4"}
    users |= {"MPLCONFIGDIR": "/c", "LD_LIBRARY_PATH": "/l", "TFHUB_CACHE_DIR": "/h", "HOME": "/r"}
    assert users.items() <= settled(users).items()


@pytest.mark.parametrize(
    ("given", "told"), [("0", "0"), ("false", "0"), ("1", "1"), ("", "1"), ("abc", "1")]
)
def test_onednn_is_the_users_choice(given: str, told: str) -> None:
    assert settled({"TF_ENABLE_ONEDNN_OPTS": given})["TF_ENABLE_ONEDNN_OPTS"] == told


@pytest.mark.parametrize(("given", "told"), [("0", "0"), (None, "1")])
def test_onednn_is_chosen_before_tensorflow_is_there(given: str | None, told: str) -> None:
    code = "import os, sys, models\nassert 'tensorflow' not in sys.modules\n"
    code += "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == told


def test_where_cuda_is_installed_is_still_known() -> None:
    flags = "--xla_gpu_cuda_data_dir=/usr/lib/cuda --xla_cpu_enable_fast_math=true"
    ours = settled({"XLA_FLAGS": flags})
    assert ours["XLA_FLAGS"] == "--xla_gpu_cuda_data_dir=/usr/lib/cuda"
    assert settled(ours) == ours


@pytest.mark.parametrize("home", ["/home/me/keras", "relative", "~/k", "", None])
def test_keras_finds_no_configuration_whatever_its_home(home: str | None) -> None:
    ours = settled({} if home is None else {"KERAS_HOME": home})
    assert not Path(ours["KERAS_HOME"], "keras.json").exists()
    assert ours["KERAS_HOME"].endswith(home or ".keras")
    assert settled(ours) == ours


LOADED = """
import json, os, sys
from search.figures import plots
from models import environment, keras_import
plots.new_figure(1, 1)
keras_import.import_keras()
import search.workers.worker
import matplotlib, keras
from keras.src.backend import config
from tensorflow.python.util import _pywrap_util_port as port
environment.restore_keras_home()
changed = sorted(k for k in matplotlib.rcParams
    if k != "backend" and matplotlib.rcParams[k] != matplotlib.rcParamsDefault[k])
print(json.dumps({
    "keras": [keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(),
        keras.config.epsilon(), config.max_epochs()],
    "home": config.keras_home(),
    "matplotlib": [changed, matplotlib.get_backend()],
    "folder": os.getcwd(),
    "left out": environment.changed,
    "onednn": port.IsMklEnabled(),
    "scikit-learn": "sklearn" in sys.modules,  # as None, it could not be imported any more
}))
"""


@pytest.mark.slow("imports TensorFlow in a process of its own")
def test_keras_and_matplotlib_are_as_they_come_and_workers_train_with_onednn(
    tmp_path: Path,
) -> None:
    home, keras_home = tmp_path / "home", tmp_path / "keras"
    style = b"axes.facecolor: red\nno.such.thing: 1\n" + b"\xff\xfe"
    for folder in (home / ".keras", keras_home):
        folder.mkdir(parents=True)
        (folder / "keras.json").write_text('{"floatx": "nonsense", "epsilon": 1}')
    for folder in (tmp_path, home / ".config/matplotlib"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "matplotlibrc").write_bytes(style)
    (home / "file").touch()
    places = {"HOME": str(home), "KERAS_HOME": str(keras_home), "MATPLOTLIBRC": str(tmp_path)}
    places |= {"MPLCONFIGDIR": str(home / "file" / "below"), "PYTHONPATH": str(Path.cwd())}
    users = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tmp_path,
        env=users | HOSTILE | places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["keras"] == ["tensorflow", "float32", "channels_last", 1e-07, None]
    assert told["home"] == str(keras_home)  # where downloaded weights are
    assert told["matplotlib"] == [[], "agg"]
    assert told["folder"] == str(tmp_path)
    assert told["scikit-learn"] is False
    assert HOSTILE.keys() <= set(told["left out"])  # names alone: values may be secrets
    assert "matplotlib" not in done.stderr
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):  # tried on x86 alone
        assert told["onednn"] is True
