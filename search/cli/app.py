"""The command line: commands and exit codes.

Importing this module does not import TensorFlow or Optuna, so `treino --help` is fast.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from search.cli.claims_command import claims
from search.cli.cluster_command import cluster
from search.cli.export_command import export
from search.cli.options import Commands, explained, from_file, settings_of
from search.cli.predict_command import predict
from search.cli.replay_command import replay
from search.cli.search_commands import record, search
from search.cli.train_commands import baseline, retrain_best
from search.cli.view_commands import dashboard, leaderboard, report, show_data, studies
from search.console.outputs import BROKEN_PIPE, OutputError, drop, flushed
from search.console.terminal import (
    fault,
    in_utf8,
    take_any_text,
)
from search.errors import EXIT_ERROR, EXIT_USAGE, SettingsError, TreinoError
from search.interruption import CtrlC

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Search hyperparameters of image classifiers, and train the best one in full.",
)
for name, command in {
    "search": search,
    "record": record,
    "baseline": baseline,
    "retrain-best": retrain_best,
    "leaderboard": leaderboard,
    "claims": claims,
    "report": report,
    "predict": predict,
    "export": export,
    "dashboard": dashboard,
    "data": show_data,
    "studies": studies,
    "replay": replay,
    "cluster": cluster,
}.items():
    app.command(name)(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Every known error becomes one line on stderr."""
    with CtrlC() as ctrl_c:
        if arguments is None:  # run as a program, not called from Python
            in_utf8()
        take_any_text()
        try:
            code = flushed(_run(arguments))
        except BrokenPipeError:
            code = BROKEN_PIPE
        except OutputError as error:
            drop()
            code = fault(f"cannot write to standard output: {error.strerror}", EXIT_ERROR)
        except BaseException:
            if not ctrl_c.came:
                raise
            code = CtrlC.EXIT
    # A server that ends by Ctrl-C exits with 0.
    sys.exit(CtrlC.EXIT if ctrl_c.came and code else code)


def _run(arguments: Sequence[str] | None) -> int:
    command = typer.main.get_command(app)
    # Typer has its own copy of click's exceptions and exports only some of them.
    usage_error: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        Path.cwd()
    except OSError as error:
        return fault(f"cannot use the working folder: {error.strerror}", EXIT_ERROR)
    try:
        taken = {
            info.name or str(info.callback and info.callback.__name__): settings_of(info.callback)
            for info in app.registered_commands
        }
        result = command.main(
            arguments,
            prog_name="treino",
            standalone_mode=False,
            default_map=from_file(Path(), taken),
        )
    except usage_error as error:
        return fault(explained(error), EXIT_USAGE)
    except typer.Abort:
        return CtrlC.EXIT
    except SettingsError as error:
        return fault(str(error), EXIT_USAGE)
    except TreinoError as error:
        return fault(str(error), EXIT_ERROR)
    except Exception as error:
        if not _is_ours(error):
            raise
        return fault(str(error), EXIT_ERROR)
    return result if isinstance(result, int) else 0


def _is_ours(error: Exception) -> bool:
    """Whether an error is in the tree of search/errors.py, below another root than TreinoError.

    Commands import the lower packages only when they need them. A module that is not imported
    cannot have raised the error.
    """
    roots = {
        "data.dataset": "DataError",
        "storage.errors": "StorageError",
        "models.errors": "ModelError",
        "search.reports.dashboard": "DashboardError",
    }
    return any(
        isinstance(error, getattr(sys.modules[module], name))
        for module, name in roots.items()
        if module in sys.modules
    )
