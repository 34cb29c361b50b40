"""The command ``treino``: runs our own code, whatever the environment says to Python.

PYTHONPATH comes before installed packages, and our packages have names that others use, too
(data, models). This module's name is its own: it sees to the paths before it imports any of them.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

# Variables of Python's that change how it writes, not what it runs.
_HARMLESS = {
    *("PYTHONCOERCECLOCALE", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED"),
    *("PYTHONIOENCODING", "PYTHONNOUSERSITE", "PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH"),
    *("PYTHONSTARTUP", "PYTHONUNBUFFERED", "PYTHONUTF8"),
}


def main() -> None:
    """Run the command line."""
    _leave_at_ctrl_c()
    set_up()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # as search/treino blocked it
    from search.cli import app
    from search.console import outputs

    outputs.outlive_terminal()
    try:
        app.main()
    finally:
        _leave_at_ctrl_c()  # while libraries put themselves away


def set_up() -> None:
    """See to it that this process, and those it starts, import our own code and run it as it is.

    May start this program again.
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
    """Let Ctrl-C end the process without a word, unless it is ignored: nothing is at work yet."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _start_again() -> None:
    """Start as a Python that ignores its variables, and so do the processes that it starts."""
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
    os.execv(sys.executable, [sys.executable, *flags, *sys.argv])  # noqa: S606 - this program itself


def _add_paths_of_user() -> None:
    """Put PYTHONPATH last, for the user's own networks; ours and what we need come before."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # An editable installation finds our packages only after all of sys.path.
    sys.path.append(str(Path(__file__).parent))
    sys.path += [folder for folder in named if folder]
