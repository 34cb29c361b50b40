"""Decides what to train next. Pure: no database, no clock, no Keras."""
