"""What Keras, TensorFlow, NumPy and matplotlib read from the environment when they are imported.

A shell's profile, a notebook or an IDE sets such variables for other programs. Here they would
change what is trained or drawn, or break it, and no setting of treino's would say so. Importing
``models`` gives them the values below, in every process that imports any of ours.
"""

import os
import sys
from collections.abc import Mapping

# Left out, whatever they say.
_PREFIXES = (
    *("KERAS_", "TF_", "XLA_", "AUTOGRAPH_"),  # backend, float type, kernels, compiler, logs
    *("ONEDNN_", "DNNL_", "CUBLAS_", "NVIDIA_TF32_"),  # instructions and precision of kernels
    *("NPY_", "OPENBLAS_", "MKL_", "OMP_", "GOMP_", "KMP_", "GOTO_"),  # NumPy's, and threads
    *("SKLEARN_", "SCIPY_", "OPTUNA_", "PLOTLY_"),
)
_SET = {
    "KERAS_BACKEND": "tensorflow",
    # The workers' numbers are TensorFlow's, whose threads the slot decides; other sums are small.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # No display, and matplotlib's own style. Notebooks name a backend that is only theirs.
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": os.devnull,
}
_NOWHERE = f"{os.devnull}/"  # below it there is no file, and none can be made
_CUDA_FOLDER = "--xla_gpu_cuda_data_dir="  # where CUDA is installed: this changes nothing trained

changed: list[str] = []
"""Names of variables that are set and that treino does not use. Values may be secrets of other
programs: those of Terraform begin like TensorFlow's."""


def settled(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` as our processes have it."""
    ours = {name: value for name, value in environ.items() if not name.startswith(_PREFIXES)}
    # TensorFlow has oneDNN's convolutions, but leaves them off on some processors unless it is
    # told: on one with AVX2 alone they train our networks 1.6 to 1.8 times as fast. The one
    # variable of TensorFlow's that is the user's to choose.
    onednn = environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() not in ("0", "false")
    # Keras finds no keras.json there; `restore_keras_home` makes the user's path of it again.
    home = environ.get("KERAS_HOME") or _default_keras_home()
    folders = [
        flag for flag in environ.get("XLA_FLAGS", "").split() if flag.startswith(_CUDA_FOLDER)
    ]
    ours |= _SET | {
        "TF_ENABLE_ONEDNN_OPTS": str(int(onednn)),
        "KERAS_HOME": home if home.startswith(_NOWHERE) else _NOWHERE + home,
    }
    return ours | ({"XLA_FLAGS": " ".join(folders)} if folders else {})


def settle() -> None:
    """Give this process, and those it starts, the environment that is `settled`."""
    before, ours = dict(os.environ), settled(os.environ)
    for name in before.keys() - ours.keys():
        del os.environ[name]
    os.environ.update(ours)
    changed.extend(sorted(name for name in before if ours.get(name) != before[name]))


def restore_keras_home() -> None:
    """Let the user's own networks find what Keras keeps in his home: downloaded weights.

    Keras has been imported, and does not look for its configuration again.
    """
    config = sys.modules["keras.src.backend.config"]
    home = os.environ["KERAS_HOME"].removeprefix(_NOWHERE)
    config._KERAS_DIR = home  # type: ignore[attr-defined]  # noqa: SLF001 - there is no setter


def _default_keras_home() -> str:
    """Where Keras has its home by default."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return f"{home if os.access(home, os.W_OK) else '/tmp'}/.keras"  # noqa: S108 - Keras's choice
