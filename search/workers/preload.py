"""Modules loaded before workers are forked. Only the fork server imports this module.

The import has side effects because the server offers no other hook. With the garbage collector off,
the many small objects of TensorFlow are created in three quarters of the time. Freezing them keeps
the collector from scanning them again, so all workers keep sharing their memory. Keras imports
scikit-learn and matplotlib where they are installed, which takes a third of the time, but needs
them only for its wrappers and plots, which no training uses.
"""

import gc
import sys

_UNUSED = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]

gc.disable()
for name in _UNUSED:
    sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed

import search.workers.worker  # noqa: E402, F401

for name in _UNUSED:
    del sys.modules[name]  # a user's own network may import it
gc.freeze()
gc.enable()
