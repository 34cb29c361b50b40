"""Entry point of the command ``treino``. Runs treino's own code in any Python environment.

PYTHONPATH comes before installed packages, and treino's packages have common names (data, models).
This module has a unique name, and sets the import paths before it imports any of them.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

# Python variables that do not change which code runs.
_HARMLESS = {
    *("PYTHONCOERCECLOCALE", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED"),
    *("PYTHONIOENCODING", "PYTHONNOUSERSITE", "PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH"),
    *("PYTHONSTARTUP", "PYTHONUNBUFFERED", "PYTHONUTF8"),
}


def main() -> None:
    """Run the command line."""
    _leave_at_ctrl_c()
    set_up()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by search/treino
    from search.cli import app
    from search.console import outputs

    outputs.outlive_terminal()
    try:
        app.main()
    finally:
        _leave_at_ctrl_c()  # during the clean-up of libraries


def set_up() -> None:
    """Make this process and its child processes import treino's own code, unmodified.

    May restart this program.
    """
    harmful = [
        name
        for name, value in os.environ.items()
        if value and name.startswith("PYTHON") and name[6:].isalnum() and name not in _HARMLESS
    ]
    if harmful and not sys.flags.ignore_environment:
        _start_again()
    if harmful:
        _add_paths_of_user()
    from models import environment

    environment.changed.extend(harmful)


def _leave_at_ctrl_c() -> None:
    """Let Ctrl-C end the process silently, unless it is ignored, because no work is running."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _start_again() -> None:
    """Restart with a Python that ignores its variables, also in child processes."""
    flags = ["-E"]
    if sys.version_info >= (3, 11):
        flags.append("-P")
    if sys.flags.dont_write_bytecode:
        flags.append("-B")
    if sys.flags.no_user_site:
        flags.append("-s")
    if os.environ.get("PYTHONUNBUFFERED"):
        flags.append("-u")
    flags += ["-X", f"utf8={sys.flags.utf8_mode}"]
    os.execv(sys.executable, [sys.executable, *flags, *sys.argv])  # noqa: S606 - restarts this program


def _add_paths_of_user() -> None:
    """Append PYTHONPATH, for the user's own networks, after treino and its dependencies."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # An editable installation finds treino's packages only after all of sys.path.
    sys.path.append(str(Path(__file__).parent))
    sys.path += [folder for folder in named if folder]
