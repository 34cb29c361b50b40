"""Searches on recorded curves: ways to search compared without training."""
