"""Run a user's own file or module anew for each network.

Only the file that the user names, and what it imports, is run.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import keras

from models.own_call import exists
from models.own_errors import OwnCodeError, is_below, told
from models.own_guard import TrainsError, no_training

# Top-level names of treino's packages: the user's modules with these names take precedence.
OURS = ("data", "models", "search", "storage", "benchmarks", "examples", "tests")
_INSTALLED = ("site-packages", "dist-packages")
# What a file may search with: imported before it runs, so that ``no_training`` knows it.
_WITH_SEARCHES = {"optuna", "keras_tuner", "kerastuner"}

_imported: dict[tuple[Path, bytes], list[Path]] = {}  # by a file's folder and content
_kept: set[str] = set()  # the user's modules that cannot be imported twice


@dataclass(frozen=True)
class Source:
    """A user's file or module, loaded.

    Attributes:
        module: The module.
        folder: Folder of the user's files, to recognise them in tracebacks.
        digest: Hexadecimal digest of the file and of its top-level imports from its folder.
        content: The file.
        stopped: The line from which it was not run, because it trains; empty if it ran whole.
    """

    module: types.ModuleType
    folder: Path
    digest: str
    content: bytes
    stopped: str


@contextmanager
def running(reference: str) -> Iterator[Source]:
    """Run the user's file or module, with its imports from its folder, and yield it.

    Everything at the top level of these files is created anew, so that no layer, optimiser or
    counter passes from one network to the next. Inside the context, modules beside the user's
    file take precedence over treino's of the same name. A file is run up to where it would train.

    Args:
        reference: The file or module, a colon, and the function's name.

    Raises:
        OwnCodeError: There is no such file, module or function, or it raises.
    """
    place, _, name = reference.rpartition(":")
    path = Path(place)
    of_file = path.suffix == ".py"
    folder = path.parent if of_file else Path.cwd()
    if str(folder) not in sys.path:
        # Appended: a file of the user's must not replace one that TensorFlow imports later.
        sys.path.append(str(folder))
    with _user_first(folder):
        before = set(sys.modules) - _kept
        module = None
        stopped = ""
        try:
            try:
                if of_file:
                    content = path.read_bytes()
                    module = _module_of(path)
                    stopped = _run(module, content, name)
                else:
                    with no_training():
                        module = importlib.import_module(place)
                    path = Path(str(module.__file__))
                    folder, content = path.parent, path.read_bytes()
            except OSError as error:
                if isinstance(error.filename, str) and Path(error.filename) == path:
                    raise OwnCodeError(f"{place}: {error.strerror or error}") from error
                raise OwnCodeError(told(error, folder)) from error
            except (Exception, SystemExit) as error:
                raise OwnCodeError(told(error, folder)) from error
            if not exists(module, name):
                raise OwnCodeError(f"{place} has no function {name!r}")
            helpers = [m for n, m in sys.modules.items() if n not in before and m is not module]
            digest = _digest(content, helpers, folder)
            yield Source(module, folder, digest, content, stopped)
        finally:
            _forget(before, folder, place, module if of_file else None)


@contextmanager
def keras_settings_kept() -> Iterator[None]:
    """Restore Keras's global settings afterwards: float type, image format, dtype policy."""
    floatx, image_format = keras.config.floatx(), keras.config.image_data_format()
    epsilon = keras.config.epsilon()
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(image_format)
        keras.config.set_epsilon(epsilon)
        # Only now, because reading the policy fixes it: before, a user's set_floatx decides.
        if keras.config.dtype_policy().name != floatx:
            keras.config.set_dtype_policy(floatx)


class _Beside(MetaPathFinder):
    """Finds modules of certain names in one folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = str(folder)
        self._names = names

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        if path is not None or fullname not in self._names:
            return None
        return PathFinder.find_spec(fullname, [self._folder])


@contextmanager
def _user_first(folder: Path) -> Iterator[None]:
    """Give modules in ``folder`` precedence over treino's of the same name, temporarily."""
    importlib.invalidate_caches()  # a file may be newer than Python's cached listing of its folder
    names = [name for name in OURS if _has_another(folder, name)]
    of_names = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in names}
    finder = _Beside(folder, names)
    for name in of_names:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.partition(".")[0] in names]:
            del sys.modules[name]
        sys.modules.update(of_names)


def _has_another(folder: Path, name: str) -> bool:
    """Whether a folder has a module of this name that is not treino's."""
    spec = PathFinder.find_spec(name, [str(folder)])
    if spec is None:
        return False
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if (Path(__file__).parent.parent / name).resolve() in [place.resolve() for place in places]:
        return False
    # Without __init__.py any folder is a package, even one of images.
    return spec.origin is not None or any(True for p in places for _ in p.glob("*.py"))


def _forget(
    before: set[str], folder: Path, place: str, file_module: types.ModuleType | None
) -> None:
    """Remove the user's modules from ``sys.modules``, so that the next run creates them anew.

    The module of the file itself stays until the next run: its classes may look it up.
    """
    users: dict[str, Path] = {}
    for name in [n for n in sys.modules if n not in before]:
        module = sys.modules[name]
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
        if file and is_below(file, folder) and module is not file_module:
            users[name] = Path(file)
    # Compiled modules are loaded once per process, and others keep references to them.
    compiled = {_top(name) for name, file in users.items() if file.suffix not in (".py", "")}
    for name, file in users.items():
        own_package = file_module is None and _top(name) == _top(place)
        installed = any(part in _INSTALLED for part in file.parts) and not own_package
        if installed or _top(name) in compiled:
            _kept.add(name)
        else:
            del sys.modules[name]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _module_of(path: Path) -> types.ModuleType:
    """An empty module for a file, in ``sys.modules``."""
    # With a prefix, because its name may be that of a package of treino's: data.py, models.py.
    module = types.ModuleType(f"own_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    return module


def _run(module: types.ModuleType, content: bytes, name: str) -> str:
    """Run a file's content as read, without stale bytecode, up to where it would train.

    Returns:
        The line that would train; empty if there is none.

    Raises:
        TrainsError: It would train before it has a builder of this name.
    """
    path = str(module.__file__)
    tree = ast.parse(content, path)
    for imported in _imports(tree) & _WITH_SEARCHES:
        with suppress(ImportError):  # told when the file imports it
            importlib.import_module(imported)
    try:
        with no_training():
            exec(compile(tree, path, "exec"), module.__dict__)  # noqa: S102 - the user named this file
    except TrainsError as error:
        if not exists(module, name):
            raise
        own = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
        ]
        return f"line {own[0].lineno}, {(own[0].line or '')[:100]!r}" if own else "its end"
    return ""


def _imports(tree: ast.Module) -> set[str]:
    """Top-level names of what a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(_top(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(_top(node.module))
    return names


def _digest(content: bytes, modules: list[types.ModuleType], folder: Path) -> str:
    whole = hashlib.sha256(content)
    files = {Path(f) for m in modules if (f := getattr(m, "__file__", None))}
    imported = sorted(file for file in files if is_below(str(file), folder))
    # The imports of the first run: modules that cannot be imported twice are missing later.
    for file in _imported.setdefault((folder, content), imported):
        whole.update(f"\0{file.relative_to(folder)}\0".encode())
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]
