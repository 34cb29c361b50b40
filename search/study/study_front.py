"""The front of a study that minimises a loss and a size: the trials that no other trial beats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from models.history import told_objective
from search.console.text import plural
from search.scheduling.front import knee, on_front
from search.study.recipe import recipe_of
from search.study.sizes import LABELS, figure_of, told_size
from search.study.trial_figures import trained_size
from search.study.trials import counted, lowest
from search.study.workspace import space_of


@dataclass(frozen=True)
class FrontTrial:
    """A trial on the front.

    Attributes:
        number: Its number.
        loss: Its lowest objective.
        size: Its weights, its multiply-adds per image, or its ms per image.
        figure: The size as text.
        text: Both in words.
        is_knee: Whether it is the front's knee (``search.scheduling.front.knee``).
    """

    number: int
    loss: float
    size: float
    figure: str
    text: str
    is_knee: bool


@dataclass(frozen=True)
class StudyFront:
    """The front of a study.

    Attributes:
        size: The size that the study minimises: ``parameters``, ``operations`` or ``latency``.
        trials: The trials on the front, smallest first.
        sizes: The size of every trial with a finite loss, as far as it is known, by number.
    """

    size: str
    trials: Sequence[FrontTrial]
    sizes: dict[int, float]

    @property
    def label(self) -> str:
        """What the size counts."""
        return LABELS[self.size]

    @property
    def knee(self) -> FrontTrial | None:
        """The knee; None if the front has none."""
        return next((trial for trial in self.trials if trial.is_knee), None)

    def mark(self, number: int) -> str:
        """What a trial is: ``front``, ``knee``, or nothing."""
        of = {trial.number: trial for trial in self.trials}
        if number not in of:
            return ""
        return "knee" if of[number].is_knee else "front"

    def lines(self) -> list[str]:
        """The front, one line for each trial below a heading; empty without a trial."""
        if not self.trials:
            return []
        return [
            f"front: {plural(len(self.trials), 'trial')}, smallest first",
            *(f"  trial {t.number}: {t.text}{' (knee)' * t.is_knee}" for t in self.trials),
        ]


def front_of(study: optuna.Study) -> StudyFront | None:
    """The front of a study; None if it has one objective.

    Trials count with their lowest loss so far, whatever ended them; failed ones do not.
    """
    recipe = recipe_of(study)
    if not recipe.size:
        return None
    space = space_of(study)
    trials, sizes = [], {}
    for trial in counted(study.get_trials(deepcopy=False)):
        if not math.isfinite(lowest(trial)):
            continue
        network = trained_size(trial, space, recipe.images)
        if size := network and getattr(network, recipe.size):
            trials.append(trial)
            sizes[trial.number] = size
    losses = [lowest(trial) for trial in trials]
    rows = on_front(losses, list(sizes.values()))
    ends = [(trials[row].number, losses[row], sizes[trials[row].number]) for row in rows]
    bend = knee([loss for _, loss, _ in ends], [size for _, _, size in ends])
    return StudyFront(
        size=recipe.size,
        trials=[
            FrontTrial(
                number,
                loss,
                size,
                figure_of(size, recipe.size),
                f"{told_objective(loss, recipe.monitor)}, {told_size(size, recipe.size)}",
                is_knee=row == bend,
            )
            for row, (number, loss, size) in enumerate(ends)
        ],
        sizes=sizes,
    )
