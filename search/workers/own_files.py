"""The Python files of a user's own network: the one that is named, and what it imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

from search.errors import SettingsError

MOST_BYTES = 16 * 2**20  # of source that travels to the nodes of a cluster


def collect(reference: str) -> dict[str, bytes]:
    """The files that a node needs to run a user's function, by their path in the user's folder.

    These are the named file or module, and what it imports from its own folder, directly or not.
    Other imports are installed packages, which each node has to have.

    Args:
        reference: A file's absolute path, or a module in the working folder; a colon; a function.

    Raises:
        SettingsError: A file cannot be read, or there is too much of it.
    """
    place = reference.rpartition(":")[0]
    folder = Path(place).parent if place.endswith(".py") else Path.cwd()
    waiting = [Path(place)] if place.endswith(".py") else list(_of_module(folder, place))
    files: dict[str, bytes] = {}
    while waiting:
        file = waiting.pop()
        name = file.relative_to(folder).as_posix()
        if name in files:
            continue
        try:
            files[name] = file.read_bytes()
        except OSError as error:
            raise SettingsError(f"--space {reference}: {file}: {error.strerror}") from error
        if sum(map(len, files.values())) > MOST_BYTES:
            raise SettingsError(
                f"--space {reference}: it imports more than {MOST_BYTES >> 20} MiB of Python "
                f"files from {folder}, which is too much to send to a cluster"
            )
        for module in _imports(files[name], file.relative_to(folder)):
            waiting += _of_module(folder, module)
    return files


def _of_module(folder: Path, module: str) -> Iterator[Path]:
    """The files of a dotted module in a folder, with those of its packages."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = folder.joinpath(*parts[:count])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


def _imports(source: bytes, file: Path) -> Iterator[str]:
    """Dotted names of all modules that a file may import, anywhere in it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # running it says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.parts[: len(file.parts) - node.level] if node.level else ()
            base = ".".join((*above, *(node.module or "").split("."))).strip(".")
            # What is imported may be a module of the package, or a name in it.
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)
