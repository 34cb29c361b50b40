"""Sources of tasks for replays: LCBench, files of recorded curves, a study."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from search.errors import TreinoError
from search.replay import lcbench, tabular
from search.replay.simulation import Task
from search.scheduling import curves
from search.settings import Settings
from search.study import recorded_curves
from search.study.workspace import Workspace

Tasks = Sequence[Callable[[], Task]]  # created in each replaying process, which takes seconds


def of_lcbench(folder: Path, names: Sequence[str]) -> Tasks:
    """The named tasks of LCBench; without names, the development tasks.

    Raises:
        TreinoError: A task or LCBench itself does not exist.
    """
    names = names or lcbench.TASKS
    lcbench.check(folder, names)
    return [partial(lcbench.LCBenchTask, folder, name) for name in names]


def of_files(paths: Sequence[Path]) -> Tasks:
    """One task per file of recorded curves.

    Raises:
        TreinoError: A file is not valid, or has too few curves.
    """
    return [_of_table(curves.read(path), str(path)) for path in paths]


def of_study(settings: Settings) -> Tasks:
    """The full trainings of the named study, or of the newest one.

    Raises:
        TreinoError: The study does not exist, or has too few full trainings.
    """
    with Workspace.open(settings, write=False) as workspace:
        study = workspace.study(settings.study)
        curves_of = recorded_curves.of_study(study, workspace.records)
    name = f"study {study.study_name!r}"
    if curves_of is None:
        raise TreinoError(f"{name} has no full training yet: run treino record")
    return [_of_table(curves_of, name)]


def _of_table(table: curves.Curves, name: str) -> Callable[[], Task]:
    tabular.check(table, name)
    return partial(tabular.TabularTask, table, name)
