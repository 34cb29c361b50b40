"""Backends: where workers run. Local processes, nodes of a cluster, or simulated workers."""
