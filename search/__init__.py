"""The search: the tuner, its workers, and the commands around them."""

import models  # noqa: F401 - it says how TensorFlow is to be loaded, and has to come before it
