"""Persistent state: the study, treino's tables, and the files under `var/`."""
