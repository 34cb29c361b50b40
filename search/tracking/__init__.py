"""Trackers: follow a search in TensorBoard or MLflow, from processes that read the study."""
