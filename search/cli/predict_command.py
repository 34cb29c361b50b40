"""`treino predict`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import AsJson
from search.cli.options import with_settings
from search.console.terminal import (
    aside,
    fault,
    print_json,
    printable,
    say,
)
from search.errors import EXIT_ERROR
from search.settings import Settings


@with_settings()
def predict(
    _settings: Settings,
    model: Annotated[Path, typer.Argument(help="A delivered model, or its folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Number of classes per image [default: 1; all with --json]."),
    ] = None,
    space: Annotated[
        str,
        typer.Option(help="Your code with the layers of a model of your own (file.py:build)."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Classify images: print probability, class and file, one line per class."""
    # Do not take GPU memory from a search for a few images.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from search.predict import Classifier, image_files

    files = image_files(images)
    classifier = Classifier(model, space)
    if classifier.remark:
        aside(f"treino: warning: {printable(classifier.remark)}")
    predictions, failures = [], 0
    for image in classifier.classify(files):
        best = classifier.best(image, top if top or as_json else 1)
        if image.fault:
            failures += 1
            fault(f"{image.path}: {image.fault}", EXIT_ERROR)
        for name, probability in () if as_json else best:
            say(f"{probability:.4f}\t{printable(name)}\t{printable(image.path)}")
        classes = [{"class": name, "probability": round(p, 6)} for name, p in best]
        predictions.append(
            {"image": str(image.path), "classes": classes, "fault": image.fault or None}
        )
    if as_json:
        print_json(predictions)
    if failures:
        raise typer.Exit(EXIT_ERROR)
