"""The audit: train pruned trials to their end, to measure how often pruning was wrong.

Audited trials train outside the study, from their checkpoint and with their own seed. Each gets
the learning curve it would have had without pruning.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial

from data.dataset import Dataset
from models.history import EpochFigures, objective, told_objective
from search.console.text import plural
from search.intervals import most_of_share
from search.protocol import Done, Failed, Job
from search.scheduling.seeds import trial_seed
from search.spaces.builtin import Space
from search.study.provenance import document
from search.study.recipe import recipe_of
from search.study.trials import best_trial, lowest, run_name, sample_of_pruned, seed_number
from search.tuning.job_runner import JobRunner, TrainingTask
from storage.files import Layout, replacing, write_atomically

ATTRIBUTE = "audit"  # study attribute with the results


@dataclass(frozen=True)
class Audited:
    """A pruned trial that was trained to its end.

    Attributes:
        trial: Number of the trial.
        epochs: Number of epochs before it was pruned.
        before: Lowest loss in these epochs.
        after: Lowest loss of the whole training.
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
    runner: JobRunner,
    layout: Layout,
    monitor: str,
    count: int,
) -> list[Audited]:
    """Train ``count`` pruned trials to their end, and store the results on the study.

    Args:
        study: The study, after its search. The caller holds its lease.
        space: Search space of the study.
        data: Images of the study.
        runner: Runs the trainings.
        layout: Paths of the files.
        monitor: The figure that the study minimises.
        count: Maximum number of trials to audit.

    Returns:
        The audited trials that have finished. After an interruption, the same call resumes the
        others.

    Raises:
        TrainingFailedError: No training can continue.
    """
    seed = recipe_of(study).seed
    drawn = sample_of_pruned(study.get_trials(deepcopy=False), count, seed)
    finished: list[Audited] = []
    trials = {_run(trial): trial for trial in drawn}
    pending = list(trials.values())

    def supply() -> TrainingTask | None:
        return _task(study, pending.pop(0), space, data, layout, seed) if pending else None

    def ended(task: TrainingTask, history: list[EpochFigures], _end: Done | Failed) -> None:
        trial = trials[task.job.run]
        losses = [objective(figures, monitor) for figures in history]
        after = min(filter(math.isfinite, losses), default=lowest(trial))
        epochs = len(trial.intermediate_values)
        finished.append(Audited(trial.number, epochs, lowest(trial), after))

    runner.train(supply, ended)
    finished.sort(key=lambda audited: audited.trial)
    study.set_user_attr(ATTRIBUTE, [asdict(audited) for audited in finished])
    if len(finished) == len(drawn):
        for trial in drawn:
            for run in (_run(trial), run_name(trial.number)):
                layout.run(study.study_name, run).remove_checkpoint()
    return finished


def told(study: optuna.Study, audits: Sequence[Audited], monitor: str) -> list[str]:
    """The results of an audit, one line each, as values of the study's monitored figure.

    The upper limit of the share is one-sided, 95 %, after Clopper and Pearson (1934).
    """
    best = best_trial(study)
    if best is None or not audits:
        return ["audit: no pruned trials to train"]
    wrong = [audited for audited in audits if audited.after < lowest(best)]
    limit = most_of_share(len(wrong), len(audits))
    first = (
        f"audit: {len(wrong)} of {plural(len(audits), 'pruned trial')} would have been better than "
        f"{told_objective(lowest(best), monitor)}, the best trial; at most {limit:.0%} of all "
        "pruned trials (95 %)"
    )
    return [first, *(_line(audited, monitor) for audited in audits)]


def _line(audited: Audited, monitor: str) -> str:
    before, after = (
        told_objective(value, monitor, name=False) for value in (audited.before, audited.after)
    )
    epochs = plural(audited.epochs, "epoch")
    return f"  trial {audited.trial}: {before} after {epochs}, {after} in full"


def _run(trial: FrozenTrial) -> str:
    return f"audit-{trial.number:05d}"


def _task(
    study: optuna.Study,
    trial: FrozenTrial,
    space: Space,
    data: Dataset,
    layout: Layout,
    seed: int,
) -> TrainingTask:
    model, training = space.specs(trial.params)
    job_seed = trial_seed(seed, seed_number(trial))
    files = layout.run(study.study_name, _run(trial))
    source = layout.run(study.study_name, run_name(trial.number)).checkpoint
    if not files.checkpoint.exists():
        write_atomically(files.spec, document(model, training, job_seed, data))
        if source.exists():  # else it trains from the start, with the same learning curve
            with replacing(files.checkpoint) as copy:
                shutil.copyfile(source, copy)
    job = Job(
        run=_run(trial),
        model=model,
        training=training,
        data=data.path,
        seed=job_seed,
        checkpoint=files.checkpoint,
        trial=trial.number,
    )
    return TrainingTask(f"trial {trial.number} audited", job)
