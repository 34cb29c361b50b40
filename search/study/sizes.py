"""The names of sizes of networks, and sizes in words."""

LABELS = {
    "parameters": "parameters",
    "operations": "multiply-adds per image",
    "latency": "ms per image",
}
"""What each size counts."""

OBJECTIVES = {"parameters": "parameters", "operations": "operations", "latency": "latency (ms)"}
"""The name of each size as an objective of a study, which the dashboard shows."""


def figure_of(size: float, name: str) -> str:
    """A size as a number: ``40,123``, or ``2.41`` for a latency."""
    return f"{size:,.2f}" if name == "latency" else f"{size:,}"


def told_size(size: float, name: str) -> str:
    """A size in words: ``40,123 parameters``, ``900,000 multiply-adds``, ``2.41 ms per image``."""
    return f"{figure_of(size, name)} {'multiply-adds' if name == 'operations' else LABELS[name]}"
