"""Builds the commands that start, resume or reproduce a study."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from search.study.opening import Opening
from search.study.recipe import StudyRecipe

_LINE = 60  # characters


def search_command(study: str, recipe: StudyRecipe, opening: Opening) -> str:
    """The command of a search, as far as its study stores it.

    Args:
        study: Name of the study.
        recipe: What its trials have in common.
        opening: One opening of the study.
    """
    settings = {
        "data": opening.data,
        "study": study,
        "image_size": recipe.images.side,
        "images": opening.image_limit,
        "seed": recipe.seed,
        "monitor": recipe.monitor,
        "objectives": f"{recipe.monitor},{recipe.size}" if recipe.size else None,
        **recipe.training.model_dump(exclude={"monitor"}),
        **opening.settings,
        "skip_bad_images": opening.skip_bad_images,
    }
    parts = ["treino search"]
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{'' if value else 'no-'}{flag}")
        elif value is not None:
            parts.append(f"--{flag} {shlex.quote(str(value))}")
    return _over_lines(parts)


def retrain_command(study: str, spec: Mapping[str, Any]) -> str:
    """The command that trains a study's best trial in full, or makes its ensemble.

    Args:
        study: Name of the study.
        spec: The content of the delivered model's ``spec.json``.
    """
    command = f"treino retrain-best --study {shlex.quote(study)} --epochs"
    if "ensemble" not in spec:
        return f"{command} {spec['training']['epochs']}"
    made = spec["ensemble"]
    return f"{command} {made['epochs']} --top {made['top']} --seeds {made['seeds']} --ensemble"


def _over_lines(parts: Sequence[str]) -> str:
    """Split a command over several lines with continuations."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) > _LINE:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {part}"
    return "\n".join(lines)
