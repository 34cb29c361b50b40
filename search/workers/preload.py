"""Modules loaded before workers are forked. Only the fork server imports this module.

The import has side effects because the server offers no other hook. With the garbage collector off,
the many small objects of TensorFlow are created in three quarters of the time. Freezing them keeps
the collector from scanning them again, so all workers keep sharing their memory.
"""

import gc

gc.disable()

import search.workers.worker  # noqa: E402, F401

gc.freeze()
gc.enable()
