"""Environment variables that Keras, TensorFlow, NumPy and matplotlib read on import.

A shell's profile, a notebook or an IDE sets such variables for other programs. In treino they
would change or break training and figures, without any setting showing it. Importing ``models``
removes or sets them, in every process that imports treino's code.
"""

import os
import sys
from collections.abc import Mapping

# Removed, whatever their value.
_PREFIXES = (
    *("KERAS_", "TF_", "XLA_", "AUTOGRAPH_"),  # backend, float type, kernels, compiler, logs
    *("ONEDNN_", "DNNL_", "CUBLAS_", "NVIDIA_TF32_"),  # instructions and precision of kernels
    *("NPY_", "OPENBLAS_", "MKL_", "OMP_", "GOMP_", "KMP_", "GOTO_"),  # NumPy's, and threads
    *("SKLEARN_", "SCIPY_", "OPTUNA_", "PLOTLY_"),
)
_SET = {
    "KERAS_BACKEND": "tensorflow",
    # Workers compute with TensorFlow, whose threads the slot sets; other sums are small.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # No display, and matplotlib's default style. Notebooks set a backend of their own.
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": os.devnull,
}
_NOWHERE = f"{os.devnull}/"  # no file exists or can be created below it
_CUDA_FOLDER = "--xla_gpu_cuda_data_dir="  # where CUDA is installed: no effect on results

changed: list[str] = []
"""Names of ignored variables that are set. Only names, because values may be secrets of other
programs: Terraform's variables start like TensorFlow's."""


def settled(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` as treino's processes use it."""
    ours = {name: value for name, value in environ.items() if not name.startswith(_PREFIXES)}
    # TensorFlow leaves oneDNN's convolutions off on some processors unless this is set. With AVX2
    # alone they train treino's networks 1.6 to 1.8 times as fast. This is the only variable of
    # TensorFlow's that the user may choose.
    onednn = environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() not in ("0", "false")
    # Keras finds no keras.json there; `restore_keras_home` restores the user's path.
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
    """Apply the environment of `settled` to this process and those it starts."""
    before, ours = dict(os.environ), settled(os.environ)
    for name in before.keys() - ours.keys():
        del os.environ[name]
    os.environ.update(ours)
    changed.extend(sorted(name for name in before if ours.get(name) != before[name]))


def restore_keras_home() -> None:
    """Let the user's own networks find Keras's files in the home folder: downloaded weights.

    Keras has been imported, and does not read its configuration again.
    """
    config = sys.modules["keras.src.backend.config"]
    home = os.environ["KERAS_HOME"].removeprefix(_NOWHERE)
    config._KERAS_DIR = home  # type: ignore[attr-defined]  # noqa: SLF001 - there is no setter


def _default_keras_home() -> str:
    """Keras's default home folder."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return f"{home if os.access(home, os.W_OK) else '/tmp'}/.keras"  # noqa: S108 - Keras's choice
