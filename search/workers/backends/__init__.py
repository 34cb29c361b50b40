"""Backends: where workers run. Local processes, or simulated workers."""
