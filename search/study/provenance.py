"""What made a result: versions, commit, spec, seed and data, in one document beside it."""

import json
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from models.spec import ModelSpec, OwnSpec, TrainingSpec

PACKAGES = ("tensorflow", "keras", "optuna", "numpy")


@cache
def versions() -> dict[str, str]:
    """What this process runs: Python, the packages that decide results, our own commit."""
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found, "treino": _commit()}


def document(
    model: ModelSpec | OwnSpec, training: TrainingSpec, seed: int, data: Dataset, own: str = ""
) -> str:
    """What a network was trained with, as JSON text: enough to train it again.

    Args:
        model: The network.
        training: How it was trained; of a network of the user's own that came compiled, without
            its optimiser and loss.
        seed: The training's seed.
        data: The images.
        own: How a network of the user's own was trained and is loaded, as JSON text.
    """
    content: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "input_shape": data.input_shape,
            "classes": data.classes,
        },
        "versions": versions(),
    }
    if own:
        content["own_network"] = json.loads(own)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _commit() -> str:
    """The git commit of this code, with a + where it was changed since; its version elsewhere."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            check=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return version("treino")
    return described.stdout.strip()
