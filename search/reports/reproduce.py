"""Builds the commands that start, resume or reproduce a study."""

import shlex
from collections.abc import Mapping, Sequence

from search.study.workspace import HOW_SEARCHED

_LINE = 60  # characters


def search_command(study: str, made_with: Mapping[str, str], made_by: Mapping[str, str]) -> str:
    """The command of a search, as far as its study stores it.

    Args:
        study: Name of the study.
        made_with: Properties that make its trials comparable.
        made_by: Settings of the search.
    """
    order = made_with["space"].partition(":")[0].rpartition(" ")[2]
    settings = {
        "data": made_by["data"],
        "study": study,
        "image-size": made_by["image_size"],
        "images": made_by.get("images") or "None",
        "epochs": made_with["epochs"],
        "seed": made_with["seed"],
        "monitor": made_with["monitor"],
        "train-order": order,
        **{name.replace("_", "-"): made_by[name] for name in HOW_SEARCHED if name in made_by},
        "skip-bad-images": made_by["skip_bad_images"],
    }
    parts = ["treino search"]
    for name, value in settings.items():
        if value in ("True", "False"):
            parts.append(f"--{'' if value == 'True' else 'no-'}{name}")
        elif value != "None":
            parts.append(f"--{name} {shlex.quote(value)}")
    return _over_lines(parts)


def retrain_command(study: str, epochs: int) -> str:
    """The command that trains a study's best trial in full."""
    return f"treino retrain-best --study {shlex.quote(study)} --epochs {epochs}"


def _over_lines(parts: Sequence[str]) -> str:
    """Split a command over several lines with continuations."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) > _LINE:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {part}"
    return "\n".join(lines)
