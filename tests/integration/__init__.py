"""Tests with databases, Keras, processes and browsers."""
