"""Load the data set that a name or a path refers to."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from data.cache import Cache
from data.dataset import DataError, Dataset
from data.names import printable
from data.progress import Progress, silent

VARIABLE = "TREINO_DATA"
OWN_FOLDER = "Imagens"  # the course project's folder, in the working directory
NAMES = ("cifar10", "digits", "fashion-mnist")
SMALLEST, LARGEST = 8, 1024  # sides of an image, pixels


@dataclass(frozen=True)
class Choice:
    """A data set and the reason for choosing it."""

    dataset: Dataset
    reason: str


def located(what: str, folder: Path = Path()) -> Path:
    """The path that ``what`` refers to: as written, else with ``~`` expanded.

    ``~backup`` may be a folder of that name, a user's home, or neither.

    Args:
        what: A path as the user wrote it.
        folder: Where relative paths start.
    """
    path = Path(what)
    if not os.path.lexists(folder / path):
        with suppress(RuntimeError):  # no such user, or no home
            return path.expanduser()
    return path


def load(
    what: str = "auto",
    *,
    image_size: int = 32,
    seed: int = 0,
    skip_bad_images: bool = False,
    images: int | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
    environ: Mapping[str, str] = os.environ,
    folder: Path = Path(),
) -> Choice:
    """Load the images that ``what`` names, decoded into the cache.

    Args:
        what: ``auto``, a name of NAMES, or the path of an image folder. ``auto`` uses the
            variable TREINO_DATA, or the folder ./Imagens; else CIFAR-10; else, where that cannot
            be downloaded, the digits. Anything else must exist.
        image_size: Side to which the images are resized, in pixels.
        seed: Seed for the split of images without one, and for the part.
        skip_bad_images: Leave unreadable images out instead of refusing them.
        images: Use a seeded part of about this many training images, and the same share of the
            other splits (see data.part); None uses all.
        cache: Folder for decoded images; the user's cache by default.
        progress: Called during long work.
        environ: Environment variables.
        folder: Where ``auto`` looks for Imagens, and relative paths start.

    Raises:
        DataError: The images are not available or not usable.
    """
    from data import sources
    from data.decode import load_folder
    from data.folder import scan
    from data.part import part_of

    if not SMALLEST <= image_size <= LARGEST:
        raise DataError(f"image size {image_size}: expected {SMALLEST} to {LARGEST} pixels")
    store = Cache(cache) if cache is not None else Cache.default(environ)
    store.sweep()

    def from_folder(path: Path, why: str) -> Choice:
        scanned = scan(path, seed)
        dataset = load_folder(
            scanned,
            store,
            side=image_size,
            seed=seed,
            skip_bad=skip_bad_images,
            progress=progress,
        )
        choice = chosen(dataset, f"{dataset.source}; {why}")
        # After the cached warnings: these are about the folder as it is now.
        warnings = (*scanned.warnings, *map(printable, choice.dataset.warnings))
        return replace(choice, dataset=replace(choice.dataset, warnings=warnings))

    named: dict[str, Callable[[], Dataset]] = {
        "cifar10": lambda: sources.cifar10(store, side=image_size, progress=progress),
        "digits": lambda: sources.digits(store, side=image_size, seed=seed),
        "fashion-mnist": lambda: sources.fashion_mnist(
            store, side=image_size, seed=seed, progress=progress
        ),
    }

    def chosen(whole: Dataset, why: str) -> Choice:
        if images is None:
            return Choice(whole, why)
        return Choice(part_of(whole, store, images=images, seed=seed), why)

    def strictly(name: str, why: str) -> Choice:
        if name in named:
            return chosen(named[name](), why)
        path = folder / located(name, folder)
        try:
            path.lstat()
        except PermissionError as error:
            raise DataError(f"no permission to access {path}: change its permissions") from error
        except (OSError, ValueError) as error:
            raise DataError(
                f"no images {name!r}: it is neither one of auto, {', '.join(NAMES)} nor a folder "
                "that exists"
            ) from error
        return from_folder(path, why)

    if what != "auto":
        return strictly(what, "as asked")
    if environ.get(VARIABLE, "auto") not in ("auto", ""):
        return strictly(environ[VARIABLE], f"as {VARIABLE} says")
    if os.path.isdir(folder / OWN_FOLDER):  # noqa: PTH112 - false, too, where it may not be seen
        return strictly(OWN_FOLDER, f"there is a folder ./{OWN_FOLDER}")
    missing = f"no {VARIABLE} and no folder ./{OWN_FOLDER}"
    try:
        return chosen(named["cifar10"](), f"there is {missing}")
    except DataError as error:
        return chosen(named["digits"](), f"there is {missing}, and CIFAR-10: {error}")
