"""What a network is, and how one is trained."""

from models import environment

# Keras and TensorFlow read it when they are imported, which the modules here and in search, whose
# package imports this one, do later.
environment.settle()
