"""Drivers of peers: each runs in the peer's own virtual environment, started by ``serve.py``."""
