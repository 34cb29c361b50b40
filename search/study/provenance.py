"""Provenance of a result: versions, commit, spec, seed and data, in one document beside it."""

import json
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from models.spec import ModelSpec, OwnSpec, TrainingSpec

PACKAGES = ("tensorflow", "keras", "optuna", "numpy")
VERSIONED = ("treino", "python", *PACKAGES)  # the names of ``versions``


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results, and treino's commit."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages, "treino": _commit()}


def document(
    model: ModelSpec | OwnSpec, training: TrainingSpec, seed: int, data: Dataset, own: str = ""
) -> str:
    """Spec, seed, data and versions of a training as JSON text, enough to train it again.

    Args:
        model: The network.
        training: The training. For a compiled network of the user's own, it lacks optimiser and
            loss.
        seed: Seed of the training.
        data: The images.
        own: How a network of the user's own is trained and loaded, as JSON text.
    """
    content: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
        **_origin(data),
    }
    if own:
        content["own_network"] = json.loads(own)
    return _text(content)


def document_of_ensemble(ensemble: Mapping[str, Any], data: Dataset) -> str:
    """Members, data and versions of an ensemble as JSON text.

    Args:
        ensemble: The members and how they were trained, as JSON-compatible values.
        data: The images.
    """
    return _text({"ensemble": ensemble, **_origin(data)})


def _origin(data: Dataset) -> dict[str, Any]:
    return {
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "input_shape": data.input_shape,
            "classes": data.classes,
        },
        "versions": versions(),
    }


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _commit() -> str:
    """The git commit of this code, with a + if it has changes; without git, its version."""
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
