"""Networks and their training."""

from models import environment

# Keras and TensorFlow read the environment when they are imported. The modules here and in
# search, whose package imports this one, import them later.
environment.settle()
