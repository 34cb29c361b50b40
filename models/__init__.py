"""What a network is, and how one is trained."""

import os

# TensorFlow has oneDNN's convolutions, but leaves them off on some processors unless it is told:
# on one with AVX2 alone they train our networks 1.6 to 1.8 times as fast. It reads this when it is
# loaded, which the modules here and in search, whose package imports this one, do later.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
