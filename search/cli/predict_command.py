"""`treino predict`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from search.cli.common import AsJson
from search.cli.options import with_settings
from search.console.terminal import (
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
    model: Annotated[Path, typer.Argument(help="A handed-over model, or its folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes to tell of each image [default: 1; all with --json]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify images: probability, class and file, a line each."""
    # A few images are not worth the memory of a GPU that a search may be using.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from search.predict import Classifier, image_files

    files = image_files(images)
    classifier = Classifier(model)
    found, bad = [], 0
    for image in classifier.classify(files):
        best = classifier.best(image, top if top or as_json else 1)
        if image.fault:
            bad += 1
            fault(f"{image.path}: {image.fault}", EXIT_ERROR)
        for name, probability in () if as_json else best:
            say(f"{probability:.4f}\t{printable(name)}\t{printable(image.path)}")
        classes = [{"class": name, "probability": round(p, 6)} for name, p in best]
        found.append({"image": str(image.path), "classes": classes, "fault": image.fault or None})
    if as_json:
        print_json(found)
    if bad:
        raise typer.Exit(EXIT_ERROR)
