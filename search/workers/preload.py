"""Modules loaded before workers are forked. Only the fork server imports this module.

The import has side effects because the server offers no other hook. Freezing the many small
objects of TensorFlow keeps the garbage collector from scanning them again, so all workers keep
sharing their memory.
"""

import gc

from models.keras_import import import_keras

gc.disable()
import_keras()
import search.workers.worker  # noqa: E402, F401

gc.freeze()
gc.enable()
