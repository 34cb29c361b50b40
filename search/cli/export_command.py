"""`treino export`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import AsJson
from search.cli.options import with_settings
from search.console.terminal import aside, print_json, printable, say
from search.console.text import plural
from search.errors import SettingsError
from search.settings import Settings


@with_settings()
def export(
    _settings: Settings,
    model: Annotated[Path, typer.Argument(help="A delivered model, or its folder.")],
    to: Annotated[str, typer.Option(help="Format: onnx, litert or saved-model.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Output file, which must not exist [default: beside the model]."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image file or folder to compare with Keras on; repeat it for several "
            "[default: test images of the model].",
        ),
    ] = None,
    space: Annotated[
        str,
        typer.Option(help="Your code with the layers of a model of your own (file.py:build)."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a delivered model for another runtime, and compare it with Keras there."""
    # Do not take GPU memory from a search for one file.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from models.export import FORMATS

    if to not in FORMATS:
        raise SettingsError(f"--to {to!r}: expected {' or '.join(FORMATS)}")
    from search import export
    from search.delivered_model import DeliveredModel

    delivered = DeliveredModel.load(model, space)
    if delivered.remark:
        aside(f"treino: warning: {printable(delivered.remark)}")
    made = export.export(delivered, to, out, images or ())
    if as_json:
        print_json(asdict(made) | {"path": str(made.path)})
    else:
        say(
            f"{printable(made.path)}: {made.title}, {made.bytes / 1e6:.1f} MB, compared on "
            f"{plural(made.images, 'image')}: probabilities within {made.difference:.1g} of Keras's"
        )
