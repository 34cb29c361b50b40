"""Retrains the best trials in full, and delivers a model with its card."""
