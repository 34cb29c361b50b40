"""Replays searches on recorded curves, to compare strategies without training."""
