"""Was it right not to train them on? Some of the pruned trials, trained to their end to see.

They are trained outside the study, each from where it was left and with its own seed, so that its
curve is the one it would have had.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial

from data.dataset import Dataset
from models.history import EpochFigures
from search.console.text import plural
from search.intervals import most_of_share
from search.protocol import Done, Failed, Job
from search.scheduling.samplers import trial_seed
from search.spaces.builtin import Space
from search.study.provenance import document
from search.study.trials import best_trial, lowest, run_name, sample_of_pruned, seed_number
from search.tuning.job_runner import JobRunner, TrainingTask
from storage.files import Layout, replacing, write_atomically
from storage.study import MADE_WITH

ATTRIBUTE = "audit"  # of the study: what came of it


@dataclass(frozen=True)
class Audited:
    """A pruned trial that was trained to its end.

    Attributes:
        trial: Its number.
        epochs: How many it had had when it was pruned.
        before: The lowest loss in these.
        after: The lowest loss of the whole training.
    """

    trial: int
    epochs: int
    before: float
    after: float


def audit(
    study: optuna.Study,
    space: Space,
    data: Dataset,
    *,
    crew: JobRunner,
    layout: Layout,
    monitor: str,
    count: int,
) -> list[Audited]:
    """Train ``count`` pruned trials to their end and note on the study what came of it.

    Args:
        study: The study, its search over. The caller has its lease.
        space: Its space.
        data: Its images.
        crew: Trains.
        layout: Where files are.
        monitor: The figure that the study minimises.
        count: How many trials, if there are as many.

    Returns:
        Those that have come to their end. If the user interrupts, the others are gone on with by
        the same call.

    Raises:
        TrainingFailedError: No training can go on.
    """
    seed = int(study.user_attrs[MADE_WITH]["seed"])
    drawn = sample_of_pruned(study.get_trials(deepcopy=False), count, seed)
    found: list[Audited] = []
    waiting = {_run(trial): trial for trial in drawn}
    left = list(waiting.values())

    def supply() -> TrainingTask | None:
        return _task(study, left.pop(0), space, data, layout, monitor, seed) if left else None

    def ended(task: TrainingTask, history: list[EpochFigures], _end: Done | Failed) -> None:
        trial = waiting[task.job.run]
        losses = [float(getattr(figures, monitor)) for figures in history]
        after = min(filter(math.isfinite, losses), default=lowest(trial))
        epochs = len(trial.intermediate_values)
        found.append(Audited(trial.number, epochs, lowest(trial), after))

    crew.train(supply, ended)
    found.sort(key=lambda audited: audited.trial)
    study.set_user_attr(ATTRIBUTE, [asdict(audited) for audited in found])
    if len(found) == len(drawn):
        for trial in drawn:
            for run in (_run(trial), run_name(trial.number)):
                layout.run(study.study_name, run).remove_checkpoint()
    return found


def told(study: optuna.Study, found: Sequence[Audited]) -> list[str]:
    """What an audit came to, a line each.

    The upper limit of the share is Clopper and Pearson's (1934), one-sided, 95 %.
    """
    best = best_trial(study)
    if best is None or not found:
        return ["audit: no trial was pruned, so there is nothing to see"]
    wrong = [audited for audited in found if audited.after < lowest(best)]
    most = most_of_share(len(wrong), len(found))
    first = (
        f"audit: {len(wrong)} of {plural(len(found), 'pruned trial')} would have been better than "
        f"{lowest(best):.4f}, the best; of all of them at most {most:.0%} (95 %)"
    )
    return [first, *map(_line, found)]


def _line(audited: Audited) -> str:
    epochs = plural(audited.epochs, "epoch")
    return (
        f"  trial {audited.trial}: {audited.before:.4f} after {epochs}, {audited.after:.4f} in full"
    )


def _run(trial: FrozenTrial) -> str:
    return f"audit-{trial.number:05d}"


def _task(
    study: optuna.Study,
    trial: FrozenTrial,
    space: Space,
    data: Dataset,
    layout: Layout,
    monitor: str,
    seed: int,
) -> TrainingTask:
    model, training = space.specs(trial.params)
    job_seed = trial_seed(seed, seed_number(trial))
    files = layout.run(study.study_name, _run(trial))
    left_at = layout.run(study.study_name, run_name(trial.number)).checkpoint
    if not files.checkpoint.exists():
        write_atomically(files.spec, document(model, training, job_seed, data))
        if left_at.exists():  # else it is trained from nothing, to the same curve
            with replacing(files.checkpoint) as copy:
                shutil.copyfile(left_at, copy)
    job = Job(
        run=_run(trial),
        model=model,
        training=training,
        data=data.path,
        seed=job_seed,
        checkpoint=files.checkpoint,
        monitor=monitor,
    )
    return TrainingTask(f"trial {trial.number} audited", job)
