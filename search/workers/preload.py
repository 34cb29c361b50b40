"""What workers are forked with; only the server that forks them imports this.

An import that does something, therefore: there is no other way to have the server do it. Without
the garbage collector the many small objects of TensorFlow are made in three quarters of the time;
frozen, they are never looked through again, and stay memory that all workers share.
"""

import gc

gc.disable()

import search.workers.worker  # noqa: E402, F401

gc.freeze()
gc.enable()
